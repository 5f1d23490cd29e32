"""A check of an endpoint: it holds for every family, and says so where it does not."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from diffusers import UNet2DConditionModel

from gateway.catalog.folders import load_catalog
from gateway.engine.check import Finding, check
from gateway.engine.forwards import forwards
from gateway.settings import Settings
from tests.engine import tiny
from tests.engine.workbench import ARGUMENTS

SETTINGS = Settings(max_batch=4, threads=1)


def finding(folder: Path, family: str) -> Finding:
    arguments = ARGUMENTS.get(family, {})
    tiny.save(
        family,
        folder,
        steps={"min": 1, "max": 3, "default": 2},
        unset=[name for name, value in arguments.items() if value is None],
        arguments={name: value for name, value in arguments.items() if value is not None},
    )
    catalog = load_catalog((folder,), ())
    return check(catalog.resolve(family), catalog, SETTINGS)


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_every_family_keeps_the_promise(tmp_path: Path, family: str) -> None:
    found = finding(tmp_path, family)
    assert found.holds, msgspec.json.encode(found)
    assert found.num_samples == 5
    assert found.num_forwards < found.num_calls
    assert found.weight_bytes > 0
    assert min(found.batches) == 1


def test_pictures_that_differ_together_are_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = UNet2DConditionModel.forward

    def leaking(self: Any, sample: Any, *args: Any, **kwargs: Any) -> Any:
        return (inner(self, sample, *args, **kwargs)[0] + 0.1 * sample.shape[0],)

    monkeypatch.setattr(UNet2DConditionModel, "forward", leaking)
    monkeypatch.setattr(forwards, "is_alike", lambda *_: True)  # which keeps such calls apart
    found = finding(tmp_path, "sd")
    assert not found.holds
    assert found.rounding is not None
    assert found.rounding < found.tolerance


def test_a_model_that_multiplies_its_roundings_is_told_from_one_that_leaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = UNet2DConditionModel.forward

    def shaky(self: Any, sample: Any, *args: Any, **kwargs: Any) -> Any:
        return (inner(self, sample, *args, **kwargs)[0] + 0.1 * (1e6 * sample).sin(),)

    monkeypatch.setattr(UNet2DConditionModel, "forward", shaky)
    monkeypatch.setattr(forwards, "is_alike", lambda *_: True)
    found = finding(tmp_path, "sd")
    assert found.difference > found.tolerance
    assert found.rounding is not None
    assert found.holds, msgspec.json.encode(found)
