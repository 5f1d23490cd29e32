"""What is asked of the hub before weights are loaded, and how it fails."""

from pathlib import Path

from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)

from gateway.catalog.cards import CardError, EndpointCard
from gateway.catalog.weights import cached_file

PATIENCE_SECONDS = 10

_OF_TRANSPORT = next(kind for kind in HfHubHTTPError.__mro__ if kind.__name__ == "HTTPError")
"""What the hub's client raises without a network; its library has changed, and may again."""

FAULTS: tuple[type[Exception], ...]
FAULTS = (_OF_TRANSPORT, OfflineModeIsEnabled, OSError, ValueError, LookupError)


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
        HfApi().model_info(card.source, revision=card.revision, timeout=PATIENCE_SECONDS)
    except GatedRepoError:
        fault = "the hub wants its licence accepted and a login (`hf auth login`)"
    except RepositoryNotFoundError:
        fault = "neither a folder nor a repository on the hub"
    except FAULTS as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        fault = f"the weights are not on this disk and the hub cannot be reached: {reason}"
    else:
        return
    raise CardError(f"key 'source' = {card.source!r}: {fault}", card.path)
