"""What models are fetched from, how much of it is missing, and having it on this disk."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from os.path import exists
from pathlib import Path
from typing import NamedTuple

import msgspec
import structlog
from huggingface_hub import constants

from gateway.catalog.cards import AdapterCard, CardError, Component, EndpointCard, FusedLora
from gateway.catalog.catalog import Model
from gateway.catalog.heads.kinds import LORA_FILE
from gateway.catalog.sources.civitai import civitai_file, is_civitai
from gateway.catalog.sources.hub import FAULTS, refusal, unreachable
from gateway.catalog.sources.parts import parts_elsewhere, parts_given
from gateway.catalog.sources.weights import INDEX, INDEXES, cached_file, is_single, layout_of
from gateway.catalog.survey.adapters import inspect_adapter
from gateway.catalog.survey.inspection import NotHereError, check_made, inspect_endpoint
from gateway.fetching.choice import Listed, of_folder, of_pipeline
from gateway.fetching.civitai import Release
from gateway.fetching.progress import Fetch, Tell, followed, in_log
from gateway.fetching.repository import Repository
from gateway.telemetry.sizes import shown_bytes

FILES_AT_ONCE = 4

log = structlog.get_logger()


class Wanted(NamedTuple):
    """A file that is missing here."""

    repository: Repository | Release
    file: Listed


Expect = Callable[[Sequence[Wanted]], None]
"""Told what is to be fetched before it is; raises where that would be of no use."""


class Plan(msgspec.Struct, frozen=True):
    """What is to be fetched for a model."""

    model: str
    wanted: tuple[Wanted, ...]

    @property
    def total_bytes(self) -> int:
        """How much it is."""
        return sum(one.repository.bytes_to_come(one.file) for one in self.wanted)


def plan_of(model: Model) -> Plan:
    """What of a model's files is missing here.

    Raises:
        CardError: the hub does not tell, or has no weights that may be used.
    """
    shown = model.adapter or model.endpoint
    source = shown.source
    try:
        named = list(_of_adapter(model.adapter) if model.adapter else _of_endpoint(model.endpoint))
    except CardError as error:
        raise CardError(f"'{source}': {error.reason}", shown.path) from None
    except FAULTS as error:
        raise unreachable(shown, error) from None
    missing = {(one.repository.source, one.file.name): one for one in named}
    wanted = (one for one in missing.values() if not one.repository.is_here(one.file))
    return Plan(model.id, tuple(sorted(wanted, key=lambda one: one.file.size_bytes)))


def fetch(model: Model, plan: Plan, tell: Tell) -> None:
    """Have all that is missing on this disk; may take hours, and goes on where it stopped.

    Raises:
        CardError: they cannot be fetched, and why.
    """
    _check_room(plan)
    with followed(plan.model, len(plan.wanted), plan.total_bytes, tell) as under_way:
        _fetch_all(plan, under_way, (model.adapter or model.endpoint).path)


def fetch_missing(model: Model, expect: Expect = lambda _: None) -> None:
    """Have a model's files on this disk, and tell of it in the log; what is here is not asked for.

    What is fetched first may tell what else is wanted.

    Raises:
        CardError: they are not here and cannot be fetched, or are of no use.
    """
    while not is_here(model) and (plan := plan_of(model)).wanted:
        names = [one.file.name for one in plan.wanted]
        log.info("fetching", model=plan.model, size=shown_bytes(plan.total_bytes), files=names)
        expect(plan.wanted)
        fetch(model, plan, in_log())
        log.info("fetched", model=plan.model)


def is_here(model: Model) -> bool:
    """Whether nothing of a model is to be fetched.

    Raises:
        CardError: what is here is of no use.
    """
    card = model.endpoint
    try:
        if model.adapter is not None:
            inspect_adapter(model.adapter, None)
            return True
        inspect_endpoint(card)
    except NotHereError:
        return False
    return all(lora_file(card, lora) for lora in card.fused)


def lora_file(card: EndpointCard, lora: FusedLora) -> Path | None:
    """The file of a LoRA that is fused in; None where it is to be fetched."""
    if is_civitai(lora.source):
        return civitai_file(lora.source, lora.weight_name)
    place, name = card.folder / lora.source, lora.weight_name or LORA_FILE
    if place.exists():
        return place / name if place.is_dir() else place
    return cached_file(lora.source, name, None)


def _fetch_all(plan: Plan, under_way: Fetch, path: Path | None) -> None:
    with ThreadPoolExecutor(FILES_AT_ONCE, thread_name_prefix="fetch") as threads:
        futures = {threads.submit(_fetch, one, under_way): one for one in plan.wanted}
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        except BaseException:
            under_way.is_stopped = True
            threads.shutdown(wait=False, cancel_futures=True)
            raise
        under_way.is_stopped = any(future.exception() for future in done)
        threads.shutdown(cancel_futures=True)
    for future in done:
        source = futures[future].repository.source
        try:
            future.result()
        except CardError as error:
            raise CardError(f"'{source}': {error.reason}", path) from None
        except FAULTS as error:
            raise CardError(f"'{source}': {refusal(source, error)}", path) from error


def _fetch(one: Wanted, under_way: Fetch) -> None:
    name = f"{one.repository.source}/{one.file.name}"
    most = one.repository.bytes_to_come(one.file)
    one.repository.file(one.file, lambda done_bytes: under_way.at(name, min(done_bytes, most)))


def _of_endpoint(card: EndpointCard) -> Iterator[Wanted]:
    """Every file that an endpoint is loaded from, as far as what is here tells."""
    if is_single(card) and not card.is_local:
        yield _file_of(card.source, card.weight_name, card.revision)
    layout = layout_of(card)
    if layout is not None and not exists(card.folder / layout):
        yield from _of_pipeline(card, layout)
    for name, part in parts_given(card).items():
        if part is not None:
            yield from _of_part(card, name, part)
    for lora in card.fused:
        if not exists(card.folder / lora.source):
            yield _file_of(lora.source, lora.weight_name)


def _of_pipeline(card: EndpointCard, layout: str) -> Iterator[Wanted]:
    """What of a pipeline's repository is not replaced by parts from elsewhere."""
    repository = Repository(layout, None if is_single(card) else card.revision)
    index = _index(repository)
    check_made(card, index)
    bare, elsewhere = parts_elsewhere(card)
    for file in of_pipeline(repository.listed, index, card.variant, elsewhere):
        yield Wanted(repository, file)
    for name in bare:
        yield from _configs(repository, name)


def _of_part(card: EndpointCard, name: str, part: Component) -> Iterator[Wanted]:
    """A part's own file, or its folder in a repository, which may be the whole of it."""
    if part.source is not None and not exists(card.folder / part.source):
        if part.weight_name is not None or is_civitai(part.source):
            yield _file_of(part.source, part.weight_name, part.revision)
        else:
            repository = Repository(part.source, part.revision)
            folder = _folder(repository, part.subfolder or name)
            for file in of_folder(repository.listed, folder, card.variant):
                yield Wanted(repository, file)
    if part.config is not None and not exists(card.folder / part.config):
        yield from _configs(Repository(part.config), name)


def _configs(repository: Repository, name: str) -> Iterator[Wanted]:
    folder = _folder(repository, name)
    for file in of_folder(repository.listed, folder):
        if file.name.endswith(".json") and file.sha256 is None:
            yield Wanted(repository, file)


def _folder(repository: Repository, name: str) -> str:
    """The folder of a part in a repository, which may be its own."""
    return name if any(file.name.startswith(f"{name}/") for file in repository.listed) else "."


def _of_adapter(card: AdapterCard) -> Iterator[Wanted]:
    if card.file is None:
        yield _file_of(card.source, card.weight_name, card.revision)


def _file_of(source: str, name: str | None, revision: str | None = None) -> Wanted:
    """One file of a repository, or of a version of Civitai's."""
    if is_civitai(source):
        release = Release(source, name)
        return Wanted(release, release.listed[0])
    return _named(Repository(source, revision), name or LORA_FILE)


def _named(repository: Repository, name: str) -> Wanted:
    for file in repository.listed:
        if file.name == name:
            return Wanted(repository, file)
    raise CardError(f"the repository '{repository.source}' has no file '{name}'")


def _index(repository: Repository) -> dict[str, object]:
    names = {file.name for file in repository.listed}
    name = next((name for name in INDEXES if name in names), INDEX)
    index = repository.file(_named(repository, name).file, lambda _: None)
    try:
        return msgspec.json.decode(index.read_bytes(), type=dict[str, object])
    except msgspec.MsgspecError as error:
        raise CardError(f"{INDEX}: {error}") from None


def _check_room(plan: Plan) -> None:
    """See that the disk has room.

    Raises:
        CardError: it has not.
    """
    cache = Path(constants.HF_HUB_CACHE)
    cache.mkdir(parents=True, exist_ok=True)
    if plan.total_bytes > (free := shutil.disk_usage(cache).free):
        raise CardError(
            f"'{plan.model}' needs {shown_bytes(plan.total_bytes)} more, and {cache} has "
            f"{shown_bytes(free)} left (HF_HUB_CACHE names another place)"
        )
