"""Cards and the ids they answer to."""

import re
from pathlib import Path

import pytest

from gateway.catalog.cards import CardError, EndpointCard
from gateway.catalog.catalog import Catalog
from gateway.catalog.folders import load_catalog
from gateway.catalog.sources.shipped import bundled
from gateway.errors import ModelNotFound


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def read(folder: Path) -> Catalog:
    return load_catalog((folder / "models",), (folder / "adapters",))


def endpoint(folder: Path, id: str, more: str = "") -> None:
    write(folder / "models" / f"{id.replace('/', '--')}.toml", f'id = "{id}"\n{more}')


def test_resolve_reads_endpoint_and_adapter(tmp_path: Path) -> None:
    endpoint(tmp_path, "sdxl")
    write(tmp_path / "adapters/sdxl/ink.safetensors", "")
    catalog = read(tmp_path)

    assert catalog.resolve("sdxl").adapter is None
    found = catalog.resolve("sdxl:ink")
    assert found.id == "sdxl:ink"
    assert found.adapter is not None
    assert found.adapter.file == (tmp_path / "adapters/sdxl/ink.safetensors").resolve()


def test_resolve_prefers_the_longest_endpoint_id() -> None:
    # Cards refuse a colon in an id; a catalogue built in code may hold one, and resolves it.
    cards = {id: EndpointCard(id=id) for id in ("a", "a:b")}
    adapters = load_catalog((), ()).adapters
    catalog = Catalog(cards, adapters)

    assert catalog.resolve("a:b").endpoint.id == "a:b"
    with pytest.raises(ModelNotFound, match="endpoint `a:b` has no adapter `c`"):
        catalog.resolve("a:b:c")


def test_unknown_model_names_those_served(tmp_path: Path) -> None:
    endpoint(tmp_path, "one")
    endpoint(tmp_path, "two")
    with pytest.raises(ModelNotFound, match=r"`three` does not exist.*`one`, `two`") as caught:
        read(tmp_path).resolve("three")
    assert (caught.value.status, caught.value.code) == (404, "model_not_found")


def test_unknown_route_names_those_that_exist(tmp_path: Path) -> None:
    endpoint(tmp_path, "sdxl")
    write(tmp_path / "adapters/sdxl/ink.safetensors", "")
    write(tmp_path / "adapters/sdxl/clay.safetensors", "")
    with pytest.raises(ModelNotFound, match="Its adapters: `clay`, `ink`"):
        read(tmp_path).resolve("sdxl:oil")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('id = "x"\nsteps = { default = "four" }', r"steps\.default' = 'four': Expected `int`"),
        ('id = "x"\nstep = 4', "unknown field `step`"),
        ('id = "x"\nsteps = { default = 11 }', r"steps\.default' = 11: wanted between"),
        ('id = "x"\ndtype = "half"', "dtype' = 'half': Invalid enum value"),
        ('source = "y"', "missing required field `id`"),
        ('id = "a:b"', "id' = 'a:b': Expected `str` matching regex"),
        ('id = "x"\npath = "/etc"', "path"),
        ("id = ", "not valid TOML"),
    ],
)
def test_card_error_names_file_key_value_and_wanted(
    tmp_path: Path, text: str, fault: str
) -> None:
    card = write(tmp_path / "models/x.toml", text)
    endpoint(tmp_path, "good")
    catalog = read(tmp_path)
    assert set(catalog.endpoints) == {"good", "x"}
    assert re.search(fault, str(catalog.broken["x"]))
    assert str(card) in str(catalog.broken["x"])
    assert str(tmp_path) not in catalog.broken["x"].reason


def test_pickled_adapter_is_refused_by_name(tmp_path: Path) -> None:
    endpoint(tmp_path, "sdxl")
    write(tmp_path / "adapters/sdxl/old.bin", "")
    write(
        tmp_path / "adapters/sdxl/old.toml",
        'endpoint = "sdxl"\nroute = "old"\nsource = "old.bin"\n',
    )
    fault = read(tmp_path).broken["sdxl:old"]
    assert "source' = 'old.bin': wanted a .safetensors file" in str(fault)


def test_adapter_card_beside_its_weights_is_one_adapter(tmp_path: Path) -> None:
    endpoint(tmp_path, "sdxl")
    write(tmp_path / "adapters/sdxl/ink.safetensors", "")
    write(
        tmp_path / "adapters/sdxl/ink.toml",
        'endpoint = "sdxl"\nroute = "brush"\nsource = "ink.safetensors"\nscale = 0.5\n',
    )
    catalog = read(tmp_path)
    assert catalog.routes("sdxl") == ["brush"]
    assert catalog.resolve("sdxl:brush").adapter.scale == 0.5  # type: ignore[union-attr]


def test_a_folder_that_a_library_wrote_is_an_adapter(tmp_path: Path) -> None:
    endpoint(tmp_path, "sdxl")
    folder = tmp_path / "adapters/sdxl"
    write(folder / "boft/adapter_model.safetensors", "")
    write(folder / "boft/adapter_config.json", "{}")
    write(folder / "ink/pytorch_lora_weights.safetensors", "")
    write(folder / "pen.toml", 'source = "brush"\nweight_name = "adapter_model.safetensors"\n'
          'endpoint = "sdxl"\nroute = "pen"\n')
    write(folder / "brush/adapter_model.safetensors", "")
    catalog = read(tmp_path)
    assert catalog.routes("sdxl") == ["boft", "ink", "pen"]
    card = catalog.adapter("sdxl", "boft")
    assert card.place / str(card.weight_name) == folder / "boft/adapter_model.safetensors"
    assert not catalog.passed_over


def test_adapter_in_another_endpoints_folder_is_an_error(tmp_path: Path) -> None:
    write(
        tmp_path / "adapters/sdxl/ink.toml",
        'endpoint = "flux"\nroute = "ink"\nsource = "ink.safetensors"\n',
    )
    fault = read(tmp_path).broken["sdxl:ink"]
    assert "'flux' lies in the folder of 'sdxl'" in str(fault)


def test_folder_with_a_pipeline_needs_no_card(tmp_path: Path) -> None:
    write(tmp_path / "models/mine/model_index.json", "{}")
    card = read(tmp_path).endpoints["mine"]
    assert card.location == str((tmp_path / "models/mine").resolve())


def test_own_card_replaces_a_bundled_one(tmp_path: Path) -> None:
    endpoint(tmp_path, "sd-turbo", "steps = { default = 3 }")
    catalog = load_catalog((bundled("models"), tmp_path / "models"), ())
    assert catalog.endpoints["sd-turbo"].steps.default == 3


def test_served_keeps_the_order_asked_for_and_checks_aliases(tmp_path: Path) -> None:
    for id in ("one", "two", "three"):
        endpoint(tmp_path, id)
    catalog = read(tmp_path)

    part = catalog.served(("three", "one"), {"dall-e-3": "one"})
    assert part.default.id == "three"
    assert part.resolve("dall-e-3").endpoint.id == "one"
    assert "two" not in part.endpoints
    with pytest.raises(CardError, match="alias 'dall-e-3': The model `two`"):
        catalog.served(("one",), {"dall-e-3": "two"})
    with pytest.raises(CardError, match="no card for endpoint 'four'"):
        catalog.served(("four",), {})


def test_bundled_cards_are_whole() -> None:
    catalog = load_catalog((bundled("models"),), (bundled("adapters"),))
    assert {
        "emoji",
        "sd-turbo",
        "sdxl-turbo",
        "sdxl-lightning",
        "lcm-sd15",
        "sd35-large-turbo",
        "flux-schnell",
        "flux2-klein",
        "sana-sprint",
        "z-image-turbo",
        "qwen-image-lightning",
        "flux2-klein-9b",
        "flux2-dev-turbo",
        "krea2-turbo",
        "ernie-image-turbo",
        "hyper-sd15",
        "hyper-sdxl",
        "tcd-sd15",
        "tcd-sdxl",
        "sdxl-dmd2",
        "flux3-klein",
    } <= set(catalog.endpoints)
    assert {"3d", "line"} <= set(catalog.routes("emoji"))
    for card in catalog.endpoints.values():
        assert card.licence != "unknown"
        # Its authors' few are sixteen.
        assert card.steps.max <= (16 if card.id == "flux3-klein" else 10)


def test_arguments_may_depend_on_the_number_of_steps() -> None:
    card = load_catalog((bundled("models"),), ()).endpoints["sana-sprint"]
    assert card.call_arguments(2) == {"intermediate_timesteps": 1.3}
    assert card.call_arguments(1) == {"intermediate_timesteps": None}
