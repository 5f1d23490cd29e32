"""Split files in folders as ComfyUI has them: which of them are the parts of one endpoint."""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from gateway.catalog.cards import CardError, EndpointCard
from gateway.catalog.drafts.drafts import Draft
from gateway.catalog.drafts.inferred import Told, decoded, infer
from gateway.catalog.heads.endings import GGUF, PICKLES, REFUSED, SINGLE, ends, lying_in
from gateway.catalog.heads.headers import Shapes
from gateway.catalog.heads.layouts import config_of
from gateway.catalog.heads.libraries import NO_MODULE
from gateway.catalog.heads.shapes import shapes_of
from gateway.catalog.heads.strangers import why_no_model
from gateway.catalog.sources.hub import configs_of
from gateway.catalog.sources.parts import Place, places_of

DENOISERS = ("diffusion_models", "unet")
WHOLE = ("checkpoints",)
OTHERS = {"vae": ("vae",), "text_encoder": ("text_encoders", "clip")}
"""How the names of parts begin, and where their files lie."""

MOST_NAMED = 8
WHY = "its names and shapes are those of this one's"

_DEPTH = ("latent_channels", "z_dim")
_WIDTH = ("hidden_size", "d_model")
_FIRST = re.compile(r"(.*\.)?decoder\.conv(_in|1)\.(conv\.)?weight")
"""The layer of a decoder that takes latents."""

_EMBEDDING = re.compile(r".*(embed|shared)")


def main_file(folder: Path) -> Path | None:
    """The one model of a folder that has ComfyUI's in it; None where no files are in it.

    Raises:
        CardError: there are several, or none.
    """
    root = next((each for each in (folder, folder / "models") if _is_root(each)), None)
    found = list(_files(root, (*DENOISERS, *WHOLE))) if root else lying_in(folder, *SINGLE)
    if root is None and not found:
        return None
    if root and len(found) == 1:
        return found[0]
    shown = ", ".join(str(file.relative_to(folder)) for file in found[:MOST_NAMED])
    more = f" and {len(found) - MOST_NAMED} more" if found[MOST_NAMED:] else ""
    wanted = f"name one of its models: {shown}{more}" if found else "it has no model in it"
    what = "has ComfyUI's folders" if root else "is a folder of single files"
    raise CardError(f"'{folder.name}' {what}; {wanted}")


def draft_of_file(file: Path, config: str | None = None) -> Draft:
    """The card of a single file, with the parts that lie beside it.

    `config` is the folder or hub id whose configs it goes with; without it, what the file tells.

    Raises:
        CardError: nothing tells, or the configs are not to be had.
    """
    if ends(file, *PICKLES):
        raise CardError(REFUSED, file)
    found = Told(config, "as was asked for") if config else Told(config_of(file), WHY)
    if found.value is None:
        untold = (
            "its names and shapes do not tell what it is; wanted --config, the folder or hub id "
            "of a pipeline that it goes with"
        )
        raise CardError(why_no_model(file) or untold, file)
    place = Path(found.value).expanduser()
    try:
        folder = place.absolute() if place.exists() else configs_of(found.value)
    except CardError as error:
        reason = f"{error.reason}; wanted --config, a folder that has its configs"
        raise CardError(reason, file) from None
    told = Told(str(folder) if place.exists() else found.value, found.why)
    inferred = infer(folder, file.stem, told.value)
    return Draft(str(file), inferred, told, parts_beside(file, str(folder)))


def parts_beside(file: Path, config: str) -> dict[str, Told[str | None]]:
    """The files beside one of a denoiser that are its pipeline's other parts, by their names.

    A part has None for what lies there in several forms, or in none.
    """
    root = next((each.parent for each in file.parents if each.name in DENOISERS), None)
    card = EndpointCard(id="a", source=str(file), config=config, path=file)
    lacking = [place for place in places_of(card) if not place.is_single]
    if root is None:
        return {}
    return {
        place.name: _chosen(place, list(_files(root, folders)), folders[0])
        for place in lacking
        if not place.cls.endswith(NO_MODULE)
        for start, folders in OTHERS.items()
        if place.name.startswith(start)
    }


def _is_root(folder: Path) -> bool:
    return any((folder / name).is_dir() for name in (*DENOISERS, *WHOLE))


def _files(root: Path, folders: tuple[str, ...]) -> Iterator[Path]:
    for name in folders:
        yield from sorted(
            path
            for path in (root / name).rglob("[!.]*")
            if ends(path, *SINGLE) and path.is_file()
        )


def _chosen(place: Place, files: list[Path], where: str) -> Told[str | None]:
    """The file of a part: the one that is as its config says, else the only one there is."""
    config = decoded(place.folder / "config.json") if place.folder else {}
    readable = [file for file in files if not ends(file, GGUF) or place.name == "vae"]
    fitting = {file: _fits(place, config, file) for file in readable}
    sure = [file for file, fits in fitting.items() if fits]
    likely = [file for file, fits in fitting.items() if fits is None]
    if len(sure) == 1:
        return Told(str(sure[0]), "its shapes are those of the configs")
    if sure:
        names = ", ".join(file.name for file in sure[:MOST_NAMED])
        return Told(None, f"each of {names} may be it", is_guess=True)
    if len(likely) == 1:
        return Told(str(likely[0]), f"no other file of '{where}' may be it", is_guess=True)
    return Told(None, f"no file of '{where}' is as the configs say", is_guess=True)


def _fits(place: Place, config: Mapping[str, Any], file: Path) -> bool | None:
    """Whether a file has the weights of a part; None where nothing tells."""
    shapes: Shapes = {}
    with suppress(CardError):
        shapes = shapes_of(file)
    if not shapes:
        return False
    told = config.get("text_config") if isinstance(config.get("text_config"), dict) else config
    if place.name == "vae":
        first = [shape for name, shape in shapes.items() if _FIRST.fullmatch(name)]
        depth = next((told[key] for key in _DEPTH if told and key in told), None)
        return first[0][1] == depth if first and depth else None
    width = next((told[key] for key in _WIDTH if told and key in told), None)
    if not (told and width and "vocab_size" in told):
        return None
    embedding = (told["vocab_size"], width)
    return any(shape == embedding for name, shape in shapes.items() if _EMBEDDING.match(name))
