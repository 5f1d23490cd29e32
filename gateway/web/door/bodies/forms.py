"""Forms: their texts in memory, within bounds, and their files, of which large ones lie on disk."""

import asyncio
import codecs
import hashlib
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import msgspec
from litestar.datastructures import UploadFile
from multipart import MultipartSegment, ParserLimitReached, PushMultipartParser

from gateway.errors import InvalidRequest, TooLarge, UnsupportedMediaType
from gateway.outside.documents import MAX_JSON_BYTES, MAX_SMALL_BYTES, MIB, check_text
from gateway.web.door.bodies.bodies import Asked, media_type

FORM = "multipart/form-data"
MAX_PARTS = 1000
CHARSETS = ("utf-8", "ascii", "iso8859-1", "cp1252")
"""Of texts; decoding some others takes time by the square of their length."""


class Form:
    """The parts of a form, in their order."""

    def __init__(self) -> None:
        self.parts: list[tuple[str, str | UploadFile]] = []

    def get(self, name: str) -> str | UploadFile | None:
        """The first part of a name."""
        return next((value for known, value in self.parts if known == name), None)

    def digest(self) -> str:
        """Of all that its parts are; not of the boundary between them, which is new each time."""
        found = hashlib.sha256()
        for name, value in self.parts:
            if isinstance(value, str):
                found.update(msgspec.json.encode([name, value]))
                continue
            value.file.seek(0)
            content = hashlib.file_digest(value.file, "sha256").hexdigest()
            found.update(msgspec.json.encode([name, value.filename, value.content_type, content]))
        return found.hexdigest()

    async def close(self) -> None:
        """Let go of the files."""
        for _, value in self.parts:
            if isinstance(value, UploadFile):
                await value.close()


@asynccontextmanager
async def read_form(request: Asked) -> AsyncIterator[Form]:
    """The form that a body is; its files are there as long as the block lasts.

    Raises:
        UnsupportedMediaType: it is none, or of the kind that has no files.
        TooLarge: its texts are longer than any that are meant.
        InvalidRequest: it is malformed, or a text in it is not what its part says.
    """
    kind = media_type(request)
    if kind != FORM:
        raise UnsupportedMediaType(
            f"Unsupported content type: '{kind[:100]}'. This API method only accepts "
            f"'{FORM}' requests."
        )
    form = Form()
    try:
        await _read(request, form)
        yield form
    finally:
        await form.close()


async def _read(request: Asked, form: Form) -> None:
    boundary = request.content_type[1].get("boundary", "")
    try:
        with PushMultipartParser(boundary, max_segment_count=MAX_PARTS) as parser:
            reader = _Reader(form)
            async for piece in request.stream():
                await reader.take(parser.parse(piece))
    except UnicodeDecodeError:
        raise InvalidRequest("The form has text that is not UTF-8.") from None
    except ParserLimitReached:
        raise InvalidRequest(f"The form has over {MAX_PARTS} parts, or a very long head.") from None
    except ValueError as error:  # the parser's own errors are such, too
        raise InvalidRequest(f"The form could not be read: {error}.") from None


class _Reader:
    """Puts parts together from what the parser finds."""

    def __init__(self, form: Form) -> None:
        self._form = form
        self._segment: MultipartSegment
        self._file: UploadFile | None = None
        self._text = bytearray()
        self._num_text_bytes = 0

    async def take(self, events: Iterable[MultipartSegment | bytes | None]) -> None:
        """Take a head, bytes or the end of a part, with a turn for others after each part."""
        for event in events:
            if isinstance(event, MultipartSegment):
                self._begin(event)
            elif event is None:
                await self._end()
            elif self._file:
                await self._file.write(event)
            else:
                self._extend(event)

    def _begin(self, segment: MultipartSegment) -> None:
        check_text(segment.name)
        self._segment, self._file, self._text = segment, None, bytearray()
        if segment.filename:
            check_text(segment.filename)
            kind = segment.content_type or "text/plain"
            self._file = UploadFile(kind, segment.filename)
            self._form.parts.append((segment.name, self._file))

    def _extend(self, more: bytes) -> None:
        self._num_text_bytes += len(more)
        if self._num_text_bytes > MAX_JSON_BYTES:
            raise TooLarge(
                f"The texts of a form may have up to {MAX_JSON_BYTES // MIB} MiB. Send pictures "
                "as files, upload them first, or name them by their URL."
            )
        self._text += more

    async def _end(self) -> None:
        if self._file:
            await self._file.seek(0)
        else:
            text = read_text(self._text, self._segment.charset or "utf-8")
            self._form.parts.append((self._segment.name, text))
        await asyncio.sleep(0)


def read_text(data: bytes | bytearray, charset: str) -> str:
    """The text of a part.

    Raises:
        TooLarge: it is long, and not even a picture in base64.
        ValueError: it is no text in this character set, or the set is not taken.
    """
    if len(data) > MAX_SMALL_BYTES and not data.isascii():
        raise TooLarge(f"A text beyond ASCII may have up to {MAX_SMALL_BYTES // MIB} MiB.")
    try:
        codec = codecs.lookup(charset)
    except LookupError:
        codec = None
    if codec is None or codec.name not in CHARSETS:
        raise ValueError(f"a text in '{charset[:40]}', of which only UTF-8 and Latin are taken")
    text = data.decode(codec.name)
    check_text(text)
    return text
