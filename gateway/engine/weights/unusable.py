"""Why a model could not be loaded, as an answer: what it is and the reason, no places of files."""

import torch

from gateway.catalog.cards import CardError, without_folders
from gateway.errors import GatewayError, ModelUnusable

UNREADABLE = (OSError, ValueError, TypeError, AttributeError, ImportError, RuntimeError, CardError)
"""What libraries raise over files and classes that are not what they take them for."""


def unusable(model_id: str, error: Exception) -> GatewayError:
    """The answer to whoever asks for a model that could not be loaded.

    It is the same for what may pass, such as a full memory or a hub that is out of reach: each
    try is a load, so whoever wants another one is to ask for it.
    """
    if isinstance(error, GatewayError):
        return error
    return ModelUnusable.of(model_id, reason_of(error))


def reason_of(error: BaseException) -> str:
    """One line, with no more of a path than its last part."""
    match error:
        case CardError():
            return error.reason
        case ModuleNotFoundError():
            return f"it needs the package '{error.name}', which is not installed"
        case MemoryError() | torch.OutOfMemoryError():
            return "it does not fit into the memory that is free now"
        case _:
            said = without_folders(str(error)) or type(error).__name__
            cause = error.__cause__
            return f"{said} ({reason_of(cause)})" if cause is not None else said
