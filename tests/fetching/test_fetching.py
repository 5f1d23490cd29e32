"""Downloads against a hub that drops connections and lies, as far as the files on the disk."""

from pathlib import Path

import pytest

from gateway.catalog.cards import CARD, CardError, EndpointCard, FusedLora
from gateway.catalog.catalog import Model
from gateway.catalog.sources.weights import cached_file
from gateway.fetching.fetching import fetch, is_here, plan_of
from gateway.fetching.progress import Fetching, under_way
from tests.fetching.repositories import BARE, HALF, MODEL, OTHERS, SOURCE, WHOLE, shards
from tests.fetching.standin import Hub, etag

UNET = f"unet/{MODEL}.safetensors"


def model(tmp_path: Path, **more: object) -> Model:
    given = {"id": "mine", "source": SOURCE, "path": tmp_path / CARD} | more
    return Model(EndpointCard(**given))  # type: ignore[arg-type]


def have(wanted: Model) -> list[Fetching]:
    seen: list[Fetching] = []
    fetch(wanted, plan_of(wanted), seen.append)
    return seen


def content(name: str, source: str = SOURCE) -> bytes:
    found = cached_file(source, name, None)
    assert found is not None, name
    return found.read_bytes()


def planned(wanted: Model) -> set[str]:
    return {one.file.name for one in plan_of(wanted).wanted}


@pytest.mark.parametrize("variant", [None, "fp16"])
def test_no_weights_are_fetched_twice(hub: Hub, tmp_path: Path, variant: str | None) -> None:
    wanted = model(tmp_path, variant=variant)
    assert not is_here(wanted)
    small = BARE.keys() - {"model_index.json"}  # which is asked for before anything else
    halves = {name.replace(".fp16", "") for name in HALF} if variant else set()
    weights = (WHOLE.keys() - halves) | (HALF.keys() if variant else set())
    assert planned(wanted) == small | weights
    seen = have(wanted)
    assert is_here(wanted)
    assert hub.names_fetched() == {"model_index.json"} | small | weights
    for name in weights:
        assert content(name) == (WHOLE | HALF)[name]
    assert (seen[-1].done_bytes, seen[-1].num_files) == (seen[-1].total_bytes, len(small | weights))
    assert under_way() == []
    assert planned(wanted) == set()


def test_shards_are_preferred_as_diffusers_does(hub: Hub, tmp_path: Path) -> None:
    hub.repositories[SOURCE] |= shards(f"unet/{MODEL}") | shards(f"unet/{MODEL}", ".fp16")
    names = planned(model(tmp_path))
    assert {name for name in names if name.startswith("unet/")} == {
        "unet/config.json", *shards(f"unet/{MODEL}")
    }  # fmt: skip
    names = planned(model(tmp_path, variant="fp16"))
    assert {name for name in names if name.startswith("unet/")} == {
        "unet/config.json", *shards(f"unet/{MODEL}", ".fp16")
    }  # fmt: skip


def test_a_dropped_connection_goes_on_where_it_was(hub: Hub, tmp_path: Path) -> None:
    hub.drops[UNET] = [100_000]
    have(model(tmp_path))
    assert content(UNET) == WHOLE[UNET]
    first, second = hub.fetched(UNET)
    assert first is None
    assert second is not None
    assert int(second.removeprefix("bytes=").rstrip("-")) > 0


def test_what_was_given_up_goes_on_in_the_next_try(hub: Hub, tmp_path: Path) -> None:
    def stop(fetching: Fetching) -> None:
        if any(part.stat().st_size for part in (tmp_path / "hub").rglob("*.part")):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(model(tmp_path), plan_of(model(tmp_path)), stop)
    assert not is_here(model(tmp_path))
    begun = [part.stat().st_size for part in (tmp_path / "hub").rglob("*.part")]
    assert begun
    hub.asked.clear()
    have(model(tmp_path))
    assert is_here(model(tmp_path))
    assert any(part is not None for part in hub.fetched())


@pytest.mark.parametrize("told", [0.5, 2])
def test_a_size_that_is_no_ones_is_told_of(hub: Hub, tmp_path: Path, told: float) -> None:
    hub.lies[UNET] = int(len(WHOLE[UNET]) * told)
    with pytest.raises(CardError, match=rf"{UNET}: {hub.lies[UNET]:,} bytes were announced"):
        have(model(tmp_path))
    assert not is_here(model(tmp_path))
    assert not list((tmp_path / "hub").rglob(f"{etag(UNET, WHOLE[UNET])}.part"))
    hub.lies.clear()
    have(model(tmp_path))
    assert content(UNET) == WHOLE[UNET]


def test_other_bytes_than_were_promised_are_not_kept(hub: Hub, tmp_path: Path) -> None:
    hub.garbled.add(UNET)
    with pytest.raises(CardError, match=f"{UNET}: its SHA-256 is"):
        have(model(tmp_path))
    assert cached_file(SOURCE, UNET, None) is None
    assert len(hub.fetched(UNET)) == 2
    hub.garbled.clear()
    have(model(tmp_path))
    assert content(UNET) == WHOLE[UNET]


def test_weights_that_an_older_commit_has_are_not_fetched_again(hub: Hub, tmp_path: Path) -> None:
    have(model(tmp_path))
    hub.asked.clear()
    hub.commit, hub.repositories[SOURCE]["unet/config.json"] = "b" * 40, b'{"sample_size": 96}'
    plan = plan_of(model(tmp_path))
    assert plan.total_bytes < 1000
    seen: list[Fetching] = []
    fetch(model(tmp_path), plan, seen.append)
    assert is_here(model(tmp_path))
    assert seen[-1].done_bytes == plan.total_bytes
    assert not {name for name in hub.names_fetched() if name.endswith(".safetensors")}
    assert content("unet/config.json") == b'{"sample_size": 96}'
    assert content(UNET) == WHOLE[UNET]


def test_a_fused_lora_is_fetched_too(hub: Hub, tmp_path: Path) -> None:
    hub.repositories["someone/lora"] = {"quick.safetensors": b"lora", "slow.safetensors": b"no"}
    fused = (FusedLora("someone/lora", "quick.safetensors"),)
    have(model(tmp_path))
    wanted = model(tmp_path, fused=fused)
    assert not is_here(wanted)
    assert planned(wanted) == {"quick.safetensors"}
    have(wanted)
    assert is_here(wanted)
    assert content("quick.safetensors", "someone/lora") == b"lora"


def test_pickles_are_refused_before_anything_large_comes(hub: Hub, tmp_path: Path) -> None:
    files = hub.repositories[SOURCE]
    for name in [name for name in files if name.startswith("unet/") and "safetensors" in name]:
        del files[name]
    with pytest.raises(CardError, match=r"unet/.*pickled weights are refused"):
        plan_of(model(tmp_path))
    assert not hub.names_fetched() & OTHERS.keys()


@pytest.mark.parametrize(
    ("source", "told"),
    [(SOURCE, "licence is to be accepted at .*/someone/painter; then set HF_TOKEN"),
     ("someone/nobody", "nor a repository on the hub")],
)  # fmt: skip
def test_what_cannot_be_had_says_what_to_do(
    hub: Hub, tmp_path: Path, source: str, told: str
) -> None:
    hub.gated.add(SOURCE)
    with pytest.raises(CardError, match=told):
        plan_of(model(tmp_path, source=source))


def test_a_full_disk_is_seen_before(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 500})())
    with pytest.raises(CardError, match=r"'mine' needs .* more, and .* has 500 B left"):
        have(model(tmp_path))
    assert not hub.fetched(UNET)
