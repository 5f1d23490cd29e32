"""Processors of texts and pictures where their videos cannot be: those want torchvision."""

from pathlib import Path
from typing import Any

from transformers import AutoImageProcessor, AutoTokenizer

VISION = "torchvision, which is not installed (the extra 'vision' of image-gateway)"


def processor(kind: Any, folder: Path) -> Any:
    """A processor from its folder; without torchvision one that takes pictures, and no videos.

    Raises:
        ImportError: it does not come without torchvision.
    """
    try:
        return kind.from_pretrained(str(folder))
    except (ImportError, AttributeError) as error:  # the latter over tables that stayed empty
        try:
            return _without_videos(kind, folder)
        except (ImportError, AttributeError, TypeError):
            raise ImportError(f"it needs {VISION}") from error


def _without_videos(kind: Any, folder: Path) -> Any:
    class WithoutVideos(kind):  # type: ignore[misc]
        """The same, which does not look for the class of what it has none of."""

        def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> Any:
            if argument is None:
                return type(None)
            return super().check_argument_for_proper_class(argument_name, argument)

    # What diffusers writes down of a part is where its class comes from.
    for name in ("__module__", "__name__", "__qualname__"):
        setattr(WithoutVideos, name, getattr(kind, name))
    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    return WithoutVideos(
        image_processor=AutoImageProcessor.from_pretrained(str(folder)),
        tokenizer=tokenizer,
        video_processor=None,
        chat_template=tokenizer.chat_template,
    )
