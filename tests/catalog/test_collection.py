"""What is served follows the folders, and what is asked for."""

import json
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from gateway.catalog.bundle import served_collection
from gateway.catalog.cards import AdapterCard
from gateway.catalog.collection import Collection
from gateway.errors import ModelNotFound
from gateway.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    for name in ("models", "adapters/emoji"):
        (tmp_path / name).mkdir(parents=True)
    return Settings(models=tmp_path / "models", adapters=tmp_path / "adapters", data=tmp_path)


def new_lora(settings: Settings, name: str) -> Path:
    assert settings.adapters
    path = settings.adapters / "emoji" / f"{name}.safetensors"
    path.write_bytes(b"weights")
    return path


def new_model(settings: Settings, id: str) -> None:
    assert settings.models
    (settings.models / id).mkdir()
    index = {"_class_name": "StableDiffusionPipeline"}
    (settings.models / id / "model_index.json").write_text(json.dumps(index))


def has(collection: Collection, model_id: str) -> bool:
    """Whether an id is found; not being found is what makes the folders looked at anew."""
    try:
        return collection.now().resolve(model_id).id == model_id
    except ModelNotFound:
        return False


def soon(so: Callable[[], bool]) -> bool:
    """Whether something that was looked at a moment ago is seen to have changed."""
    deadline = time.monotonic() + 5
    while not so() and time.monotonic() < deadline:
        time.sleep(0.001)
    return so()


def test_adapters_come_and_go_with_their_files(settings: Settings) -> None:
    collection = served_collection(settings)
    for number in range(5):
        assert not has(collection, f"emoji:n{number}")
        file = new_lora(settings, f"n{number}")
        assert has(collection, f"emoji:n{number}")
        file.unlink()
        assert soon(lambda: not has(collection, f"emoji:n{number}"))  # noqa: B023


def test_a_card_is_read_anew_and_a_bad_one_harms_no_other(settings: Settings) -> None:
    collection = served_collection(settings)
    new_lora(settings, "ink")
    assert settings.adapters
    card = settings.adapters / "emoji" / "pen.toml"
    text = 'endpoint = "emoji"\nroute = "pen"\nsource = "ink.safetensors"\nscale = {}\n'
    for scale in (0.5, 0.7):
        card.write_text(text.format(scale))
        assert soon(lambda: collection.now().adapter("emoji", "pen").scale == scale)  # noqa: B023
    card.write_text(text.format("'heavy'"))
    new_lora(settings, "other")
    assert soon(lambda: "key 'scale'" in str(collection.now().broken.get("emoji:pen")))
    assert has(collection, "emoji:ink")
    assert has(collection, "emoji:other")


@pytest.mark.parametrize(
    ("named", "served"),
    [
        ((), ["emoji", "mine", "more"]),
        (("emoji",), ["emoji"]),
        (("mo*", "emoji"), ["more", "emoji"]),
    ],
)
def test_models_that_come_are_served_where_the_settings_say_so(
    settings: Settings, named: tuple[str, ...], served: list[str]
) -> None:
    collection = served_collection(msgspec.structs.replace(settings, endpoints=named))
    new_model(settings, "mine")
    new_model(settings, "more")
    assert soon(lambda: list(collection.now().endpoints) == served)
    for id in ("mine", "more"):
        assert has(collection, id) == (id in served)


def test_what_is_added_and_withdrawn_wins_over_the_folders(settings: Settings) -> None:
    collection = served_collection(settings)
    file = new_lora(settings, "ink")
    card = AdapterCard(endpoint="emoji", route="added", source=str(file))
    collection.add(card)
    assert has(collection, "emoji:added")
    new_lora(settings, "other")
    assert has(collection, "emoji:added")
    collection.withdraw(collection.now().adapter("emoji", "ink"))
    assert not has(collection, "emoji:ink")
    file.unlink()
    assert soon(lambda: not has(collection, "emoji:added"))


def test_what_is_tried_in_vain_leaves_what_was_before(settings: Settings) -> None:
    collection = served_collection(settings)
    first, second = (str(new_lora(settings, name)) for name in ("one", "two"))
    for known in (None, first):
        with suppress(ValueError), collection.trial(
            AdapterCard(endpoint="emoji", route="added", source=second)
        ):
            assert collection.now().adapter("emoji", "added").source == second
            raise ValueError
        found = collection.now().adapters.get(("emoji", "added"))
        assert (found and found.source) == known
        collection.add(AdapterCard(endpoint="emoji", route="added", source=first))


def test_a_request_keeps_the_catalogue_it_began_with(settings: Settings) -> None:
    collection = served_collection(settings)
    before = collection.now()
    new_lora(settings, "ink")
    assert soon(lambda: "ink" in collection.now().routes("emoji"))
    assert "ink" not in before.routes("emoji")
