"""Civitai: how a card names a model's version there, what the site tells of it, where it lies.

`civitai:VERSION` is the number that a page's address and its download link have for a version;
`civitai:MODEL@VERSION`, as its resource identifiers end, is the same. Fetched files lie beside
the hub's cache, each version in a folder with what was told of it.
"""

import os
import re
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from huggingface_hub import constants, get_session, hf_raise_for_status
from huggingface_hub.errors import HfHubHTTPError

from gateway.catalog.cards import CardError

ENDPOINT = "https://civitai.com"
ENDPOINT_VARIABLE = "CIVITAI_ENDPOINT"
TOKEN_VARIABLE = "CIVITAI_TOKEN"
"""Variables of their own, as those of the hub are."""

PATIENCE_SECONDS = 10
MAX_ANSWER_BYTES = 2**23
TOLD = "version.json"
CHECKPOINT = "Checkpoint"
"""What the site calls a model of its own, rather than something that changes one."""

_SOURCE = re.compile(r"civitai:(?:\d{1,18}@)?(\d{1,18})", re.ASCII)


class File(msgspec.Struct, frozen=True, rename="camel"):
    """One file of a version; the site says how much it is in units of 1024 bytes."""

    name: str = ""
    type: str = "Model"
    size_kb: float = msgspec.field(default=0, name="sizeKB")
    hashes: dict[str, str | None] = msgspec.field(default_factory=dict)
    download_url: str = ""
    primary: bool = False

    @property
    def sha256(self) -> str:
        """The hash of its bytes; nothing where the site has none yet."""
        return (self.hashes.get("SHA256") or "").lower()


class Owner(msgspec.Struct, frozen=True):
    """The model that a version is of."""

    name: str = ""
    type: str = CHECKPOINT


class Version(msgspec.Struct, frozen=True, rename="camel"):
    """What the site tells of a version."""

    name: str = ""
    base_model: str | None = None
    trained_words: tuple[str, ...] | None = None
    model: Owner = Owner()
    files: tuple[File, ...] = ()
    main: str | None = None
    """The file that is meant where a card names none; kept here, and no word of the site's."""


def is_civitai(source: str | None) -> bool:
    """Whether a source names a version of Civitai's."""
    return source is not None and _SOURCE.fullmatch(source) is not None


def folder_of(source: str) -> Path:
    """Where the files of a version lie, fetched or not."""
    found = _SOURCE.fullmatch(source)
    assert found, source
    return Path(constants.HF_HUB_CACHE).parent / "civitai" / found[1]


def civitai_file(source: str, name: str | None = None) -> Path | None:
    """The file of a version, whole; None where it is not here."""
    version = known_version(source)
    name = name or (version.main if version else None)
    place = folder_of(source) / name if name else None
    return place if place and place.is_file() else None


def known_version(source: str) -> Version | None:
    """What was told of a version when it was fetched."""
    try:
        return msgspec.json.decode((folder_of(source) / TOLD).read_bytes(), type=Version)
    except (OSError, msgspec.MsgspecError):
        return None


def ask_version(source: str) -> Version:
    """What the site tells of a version now.

    Raises one of the hub's `FAULTS` where it does not answer.

    Raises:
        CardError: its answer is of another form.
    """
    url = f"{endpoint()}/api/v1/model-versions/{folder_of(source).name}"
    answer = get_session().get(url, headers=headers_for(url), timeout=PATIENCE_SECONDS)
    hf_raise_for_status(answer)
    try:
        if len(answer.content) > MAX_ANSWER_BYTES:
            raise ValueError
        return msgspec.json.decode(answer.content, type=Version)
    except ValueError:  # msgspec's are of it
        raise CardError("its answer is none of Civitai's") from None


def endpoint() -> str:
    """Where Civitai is asked."""
    return (os.environ.get(ENDPOINT_VARIABLE) or ENDPOINT).rstrip("/")


def headers_for(url: str) -> dict[str, str]:
    """Whoever asks, by the token of the environment; no other site is told it."""
    token, own = os.environ.get(TOKEN_VARIABLE), urlsplit(endpoint())
    is_own = (urlsplit(url).scheme, urlsplit(url).netloc) == (own.scheme, own.netloc)
    return {"authorization": f"Bearer {token}"} if token and is_own else {}


def civitai_refusal(error: BaseException) -> str | None:
    """Why Civitai did not give something, where its status tells."""
    match getattr(error, "response", None):
        case object(status_code=401 | 403) if isinstance(error, HfHubHTTPError):
            return (
                f"Civitai gives it to who is logged in, and may ask more: set {TOKEN_VARIABLE} to "
                "an API key of your account"
            )
        case object(status_code=404):
            return "Civitai has no such version, or shows it no more"
    return None
