"""What is asked of the hub before weights are loaded, and how it fails."""

import re
from pathlib import Path

from huggingface_hub import HfApi, constants, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    RevisionResolutionError,
)
from huggingface_hub.utils.tqdm import disable_progress_bars

from gateway.catalog.cards import AdapterCard, CardError, EndpointCard
from gateway.catalog.sources.civitai import ask_version, civitai_refusal, is_civitai
from gateway.catalog.sources.weights import (
    INDEX,
    INDEXES,
    cached_file,
    is_single,
    layout_of,
    single_file,
    sources_of,
)

disable_progress_bars()

PATIENCE_SECONDS = 10
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
CONFIGS = [*INDEXES, "*/config.json", "*/scheduler_config.json", "README.md"]

OF_TRANSPORT: type[Exception]
OF_TRANSPORT = next(kind for kind in HfHubHTTPError.__mro__ if kind.__name__ == "HTTPError")
"""What the hub's client raises without a network; its library has changed, and may again."""

FAULTS: tuple[type[Exception], ...]
FAULTS = (
    OF_TRANSPORT, OfflineModeIsEnabled, RevisionResolutionError, OSError, ValueError, LookupError
)  # fmt: skip


def hub_file(source: str, name: str, revision: str | None = None) -> Path:
    """A file of a repository; one that is here is not asked for again.

    Raises one of `FAULTS` where it cannot be fetched.
    """
    # Not resolved: what its link leads to has no ending.
    return cached_file(source, name, revision) or Path(
        hf_hub_download(source, name, revision=revision)
    )


def check_hub(card: EndpointCard) -> None:
    """See that an endpoint's weights can be fetched.

    Raises:
        CardError: they cannot, and why.
    """
    try:
        for source, revision in sources_of(card):
            if is_civitai(source):
                ask_version(source)
                continue
            told = HfApi().model_info(source, revision=revision, timeout=PATIENCE_SECONDS)
            if told.gated:
                HfApi().auth_check(source)
    except FAULTS as error:
        raise unreachable(card, error, source) from None


def unreachable(
    card: EndpointCard | AdapterCard, error: BaseException, source: str | None = None
) -> CardError:
    """That what a card names cannot be had; of a single file that is here, that its configs cannot.

    `source` is the one that was asked for, where that is known.
    """
    file = single_file(card) if isinstance(card, EndpointCard) and is_single(card) else None
    layout = layout_of(card) if isinstance(card, EndpointCard) and file else None
    if layout is None or source not in (layout, None):
        source = source or card.source
        return CardError(f"key 'source' = {source!r}: {refusal(source, error)}", card.path)
    wanted = f"wanted it, or {lines_of(card)}: a folder with all of it but its weights"
    return CardError(f"key 'config' = {layout!r}: {wanted}; {refusal(layout, error)}", card.path)


def lines_of(card: EndpointCard | AdapterCard) -> str:
    """The card that says whose configs a single file goes with."""
    return f'a card with id = "{card.id}", source = "{card.source}", config = "FOLDER"'


def configs_of(source: str) -> Path:
    """The folder of what a repository says of its pipeline, without the weights.

    Raises:
        CardError: it cannot be fetched, or is no pipeline in diffusers' format.
    """
    try:
        snapshot_download(source, allow_patterns=CONFIGS)
    except FAULTS as error:
        raise CardError(f"'{source}': {refusal(source, error)}") from None
    found = (cached_file(source, name, None) for name in INDEXES)
    index = next((index for index in found if index), None)
    if index is None:
        raise CardError(f"'{source}': the repository has no {INDEX}: it is no whole pipeline")
    return index.parent


def is_hub_id(source: str) -> bool:
    """Whether a source has the form `owner/name`."""
    return _HUB_ID.fullmatch(source) is not None


def page_of(source: str) -> str:
    """Where a repository is looked at."""
    return f"{constants.ENDPOINT}/{source}"


def refusal(source: str, error: BaseException) -> str:
    """Why the hub or Civitai did not give something, and what can be done."""
    if is_civitai(source) and (told := civitai_refusal(error)):
        return told
    match error:
        case GatedRepoError():
            return (
                f"its licence is to be accepted at {page_of(source)}; then set HF_TOKEN, or "
                "log in with `hf auth login`"
            )
        case RepositoryNotFoundError():
            return (
                "neither a folder nor a repository on the hub, or a private one, which wants "
                "HF_TOKEN or `hf auth login`"
            )
        case RevisionNotFoundError():
            return "the repository has no such revision"
        case OSError(strerror=reason) if reason:
            return f"the weights cannot be kept on this disk: {reason}"
    reason = " ".join(str(error).split()) or type(error).__name__
    whom = "Civitai" if is_civitai(source) else "the hub"
    return f"it is not on this disk and {whom} cannot be reached: {reason}"
