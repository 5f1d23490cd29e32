"""The input file of a batch: one request a line, all of them checked before any is drawn."""

import re
from collections.abc import Iterator

import msgspec

from gateway.outside.documents import MAX_JSON_BYTES, MIB, finite, means_too_much, num_values
from gateway.runs.batches.records import Fault, Line

MAX_LINES = 50_000
MAX_ALL_VALUES = 5_000_000
"""In all requests together: a hundred for each."""

MAX_FAULTS = 100
MAX_ID_CHARACTERS = 512
_MARK = b"\xef\xbb\xbf"
_RUN = re.compile(rb"[\r\n]{1,%d}|[^\r\n]{1,%d}" % (MIB, MAX_JSON_BYTES + 1))
"""Of line ends, or of a line; bounded, since nobody else runs while one is looked for."""

_MISSING = re.compile(r"Object missing required field `(?P<name>[^`]+)`")
_decoder = msgspec.json.Decoder(Line, float_hook=finite)


def read_lines(data: bytes, endpoint: str) -> tuple[list[Line], list[Fault]]:
    """The requests of a file, and what is wrong with it; blank lines are skipped."""
    lines: list[Line] = []
    faults: list[Fault] = []
    seen: set[str] = set()
    values = 0
    for number, text in _texts(data):
        values += num_values(text)
        if values > MAX_ALL_VALUES:
            message = f"The input file's JSON has over {MAX_ALL_VALUES} values."
            return [], [Fault("file_too_large", message)]
        line = _read(text, number, endpoint, seen)
        if len(lines) == MAX_LINES:
            message = f"The input file has over {MAX_LINES} requests, more than a batch may have."
            return lines, [Fault("too_many_tasks", message)]
        if isinstance(line, Line):
            seen.add(line.id)
            lines.append(line)
        elif len(faults) < MAX_FAULTS:
            faults.append(line)
    if not lines and not faults:
        faults.append(Fault("empty_file", "The input file has no requests."))
    return lines, faults


def _texts(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The lines with their numbers; of those that are too long no more than tells it."""
    number, is_new = 1, True
    for found in _RUN.finditer(data, len(_MARK) if data.startswith(_MARK) else 0):
        if data[found.start()] in b"\r\n":
            number += data.count(b"\n", *found.span())
            is_new = True
        elif is_new:
            is_new = False
            if not found[0].isspace():
                yield number, found[0]


def _read(text: bytes, number: int, endpoint: str, seen: set[str]) -> Line | Fault:
    if len(text) > MAX_JSON_BYTES or means_too_much(text):
        message = f"This line has over {MAX_JSON_BYTES // MIB} MiB, or too many values."
        return Fault("invalid_json_line", message, number)
    try:
        line = _decoder.decode(text)
    except msgspec.ValidationError as error:
        return _malformed(str(error), number)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Fault("invalid_json_line", "This line is not parseable as valid JSON.", number)
    return next(_faults(line, number, endpoint, seen), line)


def _malformed(refusal: str, number: int) -> Fault:
    message, _, path = refusal.partition(" - at `$.")
    missing = _MISSING.fullmatch(message)
    param = path.rstrip("`") or (missing["name"] if missing else None)
    return Fault("invalid_request", f"{message}.", number, param)


def _faults(line: Line, number: int, endpoint: str, seen: set[str]) -> Iterator[Fault]:
    if not 0 < len(line.id) <= MAX_ID_CHARACTERS:
        message = f"'custom_id' must have 1 to {MAX_ID_CHARACTERS} characters."
        yield Fault("invalid_custom_id", message, number, "custom_id")
    if line.id in seen:
        message = f"The custom_id '{line.id}' has been used before in this file."
        yield Fault("duplicate_custom_id", message, number, "custom_id")
    if line.url.removeprefix("/v1") != endpoint.removeprefix("/v1"):
        message = f"The URL '{line.url}' differs from the batch's endpoint '{endpoint}'."
        yield Fault("mismatched_url", message, number, "url")
    if line.body.get("stream"):
        message = "Batches are answered whole: 'stream' cannot be true."
        yield Fault("unsupported_stream", message, number, "body.stream")
