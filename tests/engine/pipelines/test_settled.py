"""What is found out of a module once, and not by walking through it for every picture."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

from tests.engine.conftest import built
from tests.engine.workbench import Workbench, failures, job


@pytest.mark.parametrize("family", ["sdxl", "flux2_klein", "z_image"])
def test_a_picture_walks_through_no_model(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Workbench({family: built(family)})
    bench.add(job(family, "a first one", 1, 2))
    bench.run()
    walked, walk = list[nn.Module](), nn.Module.named_modules

    def noted(self: nn.Module, *args: Any, **kwargs: Any) -> Iterator[tuple[str, nn.Module]]:
        for name, module in walk(self, *args, **kwargs):
            walked.append(module)
            yield name, module

    monkeypatch.setattr(nn.Module, "named_modules", noted)
    bench.add(job(family, "a second one", 2, 2))
    bench.run()
    bench.close()
    assert failures(bench.events) == []
    assert len(walked) < 8


def test_a_module_that_is_given_back_says_what_it_is() -> None:
    pipeline = built("sd")
    bench = Workbench({"sd": pipeline})
    assert pipeline.vae.dtype == torch.float32
    bench.close()
    pipeline.vae.to(torch.float64)
    assert pipeline.vae.dtype == torch.float64
    pipeline.vae.to(torch.float32)
