"""Files that change, come and go while their weights are in use."""

import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from gateway.catalog.cards import CardError
from gateway.catalog.collection import Collection, Folders
from gateway.catalog.folders import load_catalog
from gateway.catalog.heads.digests import LENGTH, Digests
from gateway.engine.local import LocalEngine
from gateway.engine.weights.files import read_unchanged
from gateway.job import AdapterUse, Failed, Finished, Job
from gateway.settings import Settings
from tests.engine import tiny, tiny_loras
from tests.engine.workbench import Workbench, difference, failures, job, picture

LORAS = {"old": 4, "equal": 4, "shorter": 2, "longer": 8}
"""Files by name, and their ranks."""
INK = (AdapterUse("ink"),)


@pytest.fixture(scope="module")
def loras(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("loras")
    cards = {name: tiny_loras.save("sd", folder, name, rank=rank) for name, rank in LORAS.items()}
    return {name: card.file.read_bytes() for name, card in cards.items() if card.file}


@pytest.fixture
def folder(tmp_path: Path, loras: dict[str, bytes]) -> Path:
    tiny.save("sd", tmp_path / "models")
    ink(tmp_path).parent.mkdir(parents=True)
    ink(tmp_path).write_bytes(loras["old"])
    return tmp_path


@pytest.fixture
def bench(folder: Path) -> Iterator[Workbench]:
    bench = Workbench({}, catalog=load_catalog((folder / "models",), (folder / "adapters",)))
    yield bench
    bench.close()


def ink(folder: Path) -> Path:
    return folder / "adapters" / "sd" / "ink.safetensors"


def unet(folder: Path) -> Path:
    return folder / "models" / "sd" / "unet" / "diffusion_pytorch_model.safetensors"


def drawn(bench: Workbench, one: Job) -> torch.Tensor:
    [sample] = bench.add(one)
    bench.run()
    return picture(sample)


def digests_told(bench: Workbench) -> list[dict[str, str | None]]:
    return [event.digests for event in bench.events if isinstance(event, Finished)]


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:LENGTH]


def mapped(folder: Path) -> list[str]:
    """What of a folder's files this process has mapped."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return [line for line in lines if str(folder) in line]


@pytest.mark.parametrize("name", ["equal", "shorter", "longer"])
def test_an_adapter_written_over_while_it_draws(
    folder: Path, bench: Workbench, loras: dict[str, bytes], name: str
) -> None:
    long, short = (job("sd", "a", 1, steps, adapters=INK) for steps in (6, 2))
    wanted = drawn(bench, long)
    assert not mapped(folder)
    [running] = bench.add(long)
    bench.until(lambda: running.num_steps_done == 2)
    ink(folder).write_bytes(loras[name])  # in place, as `cp` does
    [later] = bench.add(short)
    bench.run()
    assert difference(picture(running), wanted) < 1e-5
    told = [digests["sd:ink"] for digests in digests_told(bench)]
    assert sorted(told[1:], key=str) == sorted([sha(loras["old"]), sha(loras[name])])
    assert len(bench.shelf.adapters("sd").routes) == 1

    ink(folder).write_bytes(loras["old"])
    assert difference(drawn(bench, short), picture(later)) > 1e-3
    assert digests_told(bench)[-1]["sd:ink"] == sha(loras["old"])


def test_the_two_versions_share_forwards_and_neither_is_mixed(
    folder: Path, bench: Workbench, loras: dict[str, bytes]
) -> None:
    one = job("sd", "a", 1, 8, adapters=INK)
    first = drawn(bench, one)
    ink(folder).write_bytes(loras["longer"])
    second = drawn(bench, one)
    ink(folder).write_bytes(loras["old"])
    [old] = bench.add(one)
    bench.until(lambda: old.num_steps_done == 2)
    ink(folder).write_bytes(loras["longer"])
    [new] = bench.add(one)
    while not bench.shelf.is_ready(new.job):  # no turn meanwhile, so that the two run together
        bench.hub.take_commands()
        time.sleep(0.001)
    bench.until(lambda: bool(new.num_steps_done))
    assert not old.is_done
    bench.run()
    assert difference(picture(old), first) < 1e-4
    assert difference(picture(new), second) < 1e-4
    assert difference(first, second) > 1e-3


def test_a_removed_adapter_is_drawn_to_the_end_and_then_not_found(
    folder: Path, bench: Workbench, loras: dict[str, bytes]
) -> None:
    [running] = bench.add(job("sd", "a", 1, 4, adapters=INK))
    bench.until(lambda: running.num_steps_done == 1)
    ink(folder).unlink()
    bench.add(job("sd", "b", 1, 1, adapters=INK))
    bench.run()
    picture(running)
    assert [digests["sd:ink"] for digests in digests_told(bench)] == [sha(loras["old"])]
    [fault] = failures(bench.events)
    assert (fault.code, "sd:ink" in fault.message) == ("model_not_found", True)
    assert fault.error().status == 404
    ink(folder).write_bytes(loras["equal"])
    drawn(bench, job("sd", "a", 1, 1, adapters=INK))
    assert digests_told(bench)[-1]["sd:ink"] == sha(loras["equal"])


def test_a_base_model_cut_short_or_replaced_while_it_draws(folder: Path, bench: Workbench) -> None:
    one = job("sd", "a", 1, 6)
    wanted = drawn(bench, one)
    assert not mapped(folder)
    content = unet(folder).read_bytes()
    [running] = bench.add(one)
    bench.until(lambda: running.num_steps_done == 1)
    os.truncate(unet(folder), 100)
    bench.add(job("sd", "b", 1, 1))
    bench.run()
    assert difference(picture(running), wanted) < 1e-5
    assert len(failures(bench.events)) == 1

    changed = bytearray(content)
    changed[-4096:] = bytes(4096)
    unet(folder).write_bytes(changed)
    other = drawn(bench, one)
    unet(folder).write_bytes(content)
    again = drawn(bench, one)
    assert len(failures(bench.events)) == 1
    assert difference(again, wanted) < 1e-5
    assert difference(other, wanted) > 0
    told = [digests["sd"] for digests in digests_told(bench)]
    assert told[0] == told[1] == told[3] != told[2]


def test_other_weights_than_were_asked_for_are_not_found(
    bench: Workbench, loras: dict[str, bytes]
) -> None:
    good = {"sd:ink": sha(loras["old"])}
    drawn(bench, job("sd", "a", 1, 1, adapters=INK, pins=good))
    base = digests_told(bench)[0]["sd"]
    drawn(bench, job("sd", "a", 1, 1, pins={"sd": base}))
    for pins in ({"sd:ink": sha(loras["equal"])}, good | {"sd": "0" * LENGTH}):
        bench.add(job("sd", "b", 1, 1, adapters=INK, pins=pins))
    bench.run()
    faults = failures(bench.events)
    assert [fault.code for fault in faults] == ["model_not_found"] * 2
    assert sha(loras["old"]) in faults[0].message
    assert sha(loras["equal"]) in faults[0].message


def test_what_changes_while_it_is_read_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"first")
    contents = [b"second", b"third"]

    def read() -> bytes:
        found = path.read_bytes()
        if contents:
            path.write_bytes(contents.pop(0))
        return found

    found, origin = read_unchanged(lambda: [path], read, Digests(tmp_path / "data"))
    assert (found, origin.digest) == (b"third", sha(b"third"))
    assert origin.is_current


def test_what_never_stays_the_same_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"0")

    def read() -> None:
        path.write_bytes(path.read_bytes() + b"0")

    with pytest.raises(CardError, match="changed"):
        read_unchanged(lambda: [path], read, Digests(tmp_path / "data"))


async def test_what_comes_while_the_engine_runs(folder: Path, loras: dict[str, bytes]) -> None:
    folders = Folders((folder / "models",), (folder / "adapters",))
    collection = Collection(
        lambda: load_catalog(folders.models, folders.adapters), folders
    )
    engine = LocalEngine(collection, Settings(threads=1, data=folder / "data"))
    await engine.start()
    try:
        tiny.save("sd", folder / "models", id="late")
        place = folder / "adapters" / "late" / "pen.safetensors"
        place.parent.mkdir()
        place.write_bytes(loras["equal"])
        assert collection.now().resolve("late:pen")
        wanted = job("late", "a", 1, 1, adapters=(AdapterUse("pen"),))
        events = [event async for event in engine.submit(wanted)]
        assert [event.digests["late:pen"] for event in events if isinstance(event, Finished)] == [
            sha(loras["equal"])
        ]
        await engine.load_adapter("sd", "ink")
        loaded = {one.id: one.digests for one in engine.status().loaded}
        assert loaded["sd"]["sd:ink"] == sha(loras["old"])

        (folder / "adapters" / "sd" / "wrong.safetensors").write_bytes(unet(folder).read_bytes())
        (folder / "adapters" / "sd" / "torn.safetensors").write_bytes(loras["old"][:999])
        collection.renewed()
        for route, reason in {"wrong": "not a LoRA for 'sd'", "torn": "safetensors file"}.items():
            with pytest.raises(CardError, match=reason):
                await engine.load_adapter("sd", route)

        place.unlink()
        (folder / "models" / "late" / "card.toml").unlink()
        (folder / "models" / "late" / "model_index.json").unlink()
        assert "late" not in collection.renewed().endpoints
        gone = [event async for event in engine.submit(wanted)]
        assert [event.code for event in gone if isinstance(event, Failed)] == ["model_not_found"]
        assert [one.id for one in engine.status().loaded] == ["sd"]
    finally:
        await engine.stop(0)


