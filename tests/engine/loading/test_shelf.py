"""What is kept in memory, and what goes when a budget is passed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.catalog.catalog import Catalog
from gateway.catalog.folders import load_catalog
from gateway.catalog.sources.parts import bytes_on_disk
from gateway.engine.loading import shelf as shelf_module
from tests.engine import tiny
from tests.engine.workbench import Workbench, failures, job
from tests.fetching.standin import point_at, serving

IDS = ("one", "two", "three")


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    folder = tmp_path_factory.mktemp("models")
    for id in IDS:
        tiny.save("sd", folder, id=id)
    (folder / "far.toml").write_text('id = "far"\nsource = "someone/far"\n')
    return load_catalog((folder,), ())


@pytest.fixture
def bench(catalog: Catalog) -> Iterator[Workbench]:
    one = bytes_on_disk(catalog.endpoints["one"])
    bench = Workbench({}, catalog=catalog, endpoint_gib=2.5 * one / 2**30)
    yield bench
    bench.close()


def folder_of(bench: Workbench, id: str) -> str:
    """Where an endpoint's weights lie."""
    return bench.catalog.endpoints[id].location


def test_endpoints_load_on_demand_and_the_least_recently_used_goes(bench: Workbench) -> None:
    for id in ("one", "two", "one", "three"):
        bench.add(job(id, "a", 1, 1))
        bench.run()
    assert not failures(bench.events)
    assert set(bench.shelf.loaded) == {"one", "three"}


def test_room_is_made_before_loading(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    load, held = shelf_module.load, []  # type: ignore[attr-defined]

    def noted(*given: Any) -> Any:
        held.append(len(bench.shelf.loaded))
        return load(*given)

    monkeypatch.setattr(shelf_module, "load", noted)
    for id in IDS:
        bench.add(job(id, "a", 1, 1))
        bench.run()
    assert held == [0, 1, 1]


def test_a_download_holds_up_no_other(
    bench: Workbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(folder_of(bench, "one"))
    files = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
    with serving({"someone/far": files}) as hub:
        point_at(hub, tmp_path, monkeypatch)
        hub.may_answer.clear()
        far = bench.add(job("far", "a", 1, 1))[0]
        for id in ("two", "three"):
            near = bench.add(job(id, "b", 1, 1))[0]
            bench.until(lambda: near.is_done)  # noqa: B023
        assert not far.is_done
        hub.may_answer.set()
        bench.run()
    assert far.is_done
    assert not failures(bench.events)


def test_what_runs_is_not_dropped_but_makes_room_when_it_ends(bench: Workbench) -> None:
    long = [bench.add(job(id, "a", 1, 10))[0] for id in ("one", "two")]
    bench.until(lambda: all(sample.num_steps_done for sample in long))
    newcomer = bench.add(job("three", "b", 2, 1))[0]
    more = bench.add(job("one", "c", 3, 1))[0]
    bench.until(lambda: newcomer.is_done)
    assert any(sample.is_done for sample in long)
    bench.run()
    assert not failures(bench.events)
    assert more.is_done
    assert len(bench.shelf.loaded) == 2


def test_a_model_of_no_use_says_why_until_it_is_mended(tmp_path: Path) -> None:
    folder = tiny.save("sd", tmp_path)
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(b"nothing")
    bench = Workbench({}, catalog=load_catalog((tmp_path,), ()))
    bench.add(job("sd", "a", 1, 1))
    bench.run()
    [fault] = failures(bench.events)
    assert (fault.code, fault.param) == ("model_unusable", "model")
    assert "The model `sd` cannot be used: unet/diffusion_pytorch_model.safe" in fault.message
    assert str(tmp_path) not in fault.message
    weights.write_bytes(content)
    bench.add(job("sd", "a", 1, 1))
    bench.run()
    bench.close()
    assert len(failures(bench.events)) == 1
