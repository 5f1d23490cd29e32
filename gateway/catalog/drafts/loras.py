"""From what an operator names, a LoRA and where it lies, to a card that serves it."""

from pathlib import Path

from huggingface_hub.errors import RemoteEntryNotFoundError
from msgspec import ValidationError, convert

from gateway.catalog.cards import AdapterCard, CardError, Route
from gateway.catalog.catalog import Catalog
from gateway.catalog.collection import Folders
from gateway.catalog.heads.endings import PICKLES, WEIGHTS, ends, lying_in
from gateway.catalog.heads.kinds import ADAPTER_FILES
from gateway.catalog.sources.civitai import (
    CHECKPOINT,
    ask_version,
    civitai_refusal,
    is_civitai,
    known_version,
)
from gateway.catalog.sources.hub import FAULTS, hub_file, is_hub_id
from gateway.errors import InvalidRequest, NotFound


def place_of(name: str, catalog: Catalog) -> tuple[str, str]:
    """The endpoint and the route of `endpoint:route`, or of a route on the default endpoint.

    Raises:
        InvalidRequest: it is no name for a route, or another model's.
        ModelNotFound: there is no such endpoint.
    """
    owners = [id for id in catalog.endpoints if name.startswith(f"{id}:")]
    owner = max(owners, key=len, default=catalog.default.id)
    route = name.removeprefix(f"{owner}:")
    if ":" in route:
        catalog.endpoint(route.rpartition(":")[0])
    id = f"{owner}:{route}"
    if name in catalog.endpoints or catalog.aliases.get(name, id) != id:
        raise InvalidRequest(f"'{name}' is another model's name.", param="lora_name")
    try:
        return owner, convert(route, Route)
    except ValidationError:
        raise InvalidRequest(
            f"'{name}' is no name for a LoRA; wanted endpoint:route, or a route of `{owner}`.",
            param="lora_name",
        ) from None


def card_of(name: str, path: str, catalog: Catalog, folders: Folders) -> AdapterCard:
    """The card that serves a file under the adapters' folders, of the hub, or of Civitai.

    One of the hub may be downloaded here; a version of Civitai's is when it is loaded.

    Raises:
        InvalidRequest: it lies elsewhere, or is no safetensors file.
        NotFound: there is nothing.
        ModelNotFound: there is no such endpoint.
    """
    endpoint, route = place_of(name, catalog)
    if is_civitai(path):
        _check_version(path)
        return AdapterCard(endpoint=endpoint, route=route, source=path)
    found = _local_file(path, folders) or _hub_file(path)
    return AdapterCard(endpoint=endpoint, route=route, source=str(found))


def _check_version(source: str) -> None:
    """See that a version of Civitai's is there, and no model of its own, before it is fetched."""
    try:
        version = known_version(source) or ask_version(source)
    except CardError as fault:
        raise InvalidRequest(f"'{source}': {fault.reason}.", param="lora_path") from None
    except FAULTS as error:
        reason = civitai_refusal(error) or str(error).strip() or type(error).__name__
        raise NotFound(
            f"'{source}' is not to be had: {reason.splitlines()[0]}", param="lora_path"
        ) from None
    if version.model.type == CHECKPOINT:
        raise InvalidRequest(
            f"'{source}' is a model of its own, and no LoRA.", param="lora_path"
        )


def _local_file(text: str, folders: Folders) -> Path | None:
    """The file at a path, or below a folder of adapters; None where it may mean the hub."""
    allowed = [folder.resolve() for folder in folders.adapters]
    for folder in reversed(allowed):
        path = (folder / text).resolve()
        if any(path.is_relative_to(each) for each in allowed) and path.exists():
            return _checked(_file_in(path) if path.is_dir() else path, text)
    if is_hub_id(text) and not ends(text, WEIGHTS, *PICKLES):
        return None
    if any((folder / text).resolve().is_relative_to(folder) for folder in allowed):
        raise NotFound(f"There is no file '{text}'.", param="lora_path")
    listed = ", ".join(map(str, allowed))
    raise InvalidRequest(
        f"'{text}' lies in none of the folders of adapters: {listed}.", param="lora_path"
    )


def _file_in(folder: Path) -> Path:
    for name in ADAPTER_FILES:
        if (folder / name).is_file():
            return folder / name
    files = lying_in(folder, WEIGHTS)
    if len(files) == 1:
        return files[0]
    wanted = " or ".join((*ADAPTER_FILES, "one safetensors file"))
    raise InvalidRequest(f"'{folder.name}' holds no LoRA; wanted {wanted}.", param="lora_path")


def _checked(path: Path, text: str) -> Path:
    if ends(path, *PICKLES):
        raise InvalidRequest(
            f"'{text}': pickled weights are refused; wanted .safetensors.", param="lora_path"
        )
    if not ends(path, WEIGHTS) or not path.is_file():
        raise InvalidRequest(f"'{text}' is no .safetensors file.", param="lora_path")
    return path


def _hub_file(repository: str) -> Path:
    for name in ADAPTER_FILES:
        try:
            return hub_file(repository, name)
        except FAULTS as error:
            if isinstance(error, RemoteEntryNotFoundError):
                continue
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise NotFound(
                f"'{repository}' is neither a file here nor to be had from the hub: {reason}",
                param="lora_path",
            ) from None
    raise NotFound(f"'{repository}' holds none of {', '.join(ADAPTER_FILES)}.", param="lora_path")
