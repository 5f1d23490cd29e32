"""Nothing on the way of a step makes the host wait for the device."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from gateway.job import AdapterUse
from tests.engine import tiny, tiny_loras
from tests.engine.conftest import built
from tests.engine.workbench import Workbench, job

ASKING = ("item", "tolist", "cpu", "numpy", "nonzero", "__bool__", "__float__", "__int__")
"""What a GPU is waited for in."""


ASK_THEMSELVES = ("lcm",)
"""Families whose own scheduler asks, at every step, whether it is the last one."""


@contextmanager
def asked() -> Iterator[list[str]]:
    """Where tensors are asked for their values, by the name and the line that asks."""
    found: list[str] = []
    before = {name: getattr(Tensor, name) for name in ASKING}

    def noted(name: str) -> Any:
        def ask(self: Tensor, *args: Any, **kwargs: Any) -> Any:
            line = traceback.extract_stack(limit=2)[0]
            found.append(f"{name} in {line.filename}:{line.lineno}")
            return before[name](self, *args, **kwargs)

        return ask

    try:
        for name in ASKING:
            setattr(Tensor, name, noted(name))
        yield found
    finally:
        for name, method in before.items():
            setattr(Tensor, name, method)


@pytest.mark.parametrize("family", [name for name in tiny.FAMILIES if name not in ASK_THEMSELVES])
def test_a_step_asks_no_tensor_for_its_value(family: str) -> None:
    bench = Workbench({family: built(family)})
    for _ in range(2):  # what is proved and found once
        for seed in range(2):
            bench.add(job(family, f"prompt {seed}", seed, 3))
        bench.run()
    samples = [bench.add(job(family, f"prompt {seed}", seed, 6))[0] for seed in range(2)]
    bench.until(lambda: all(sample.num_steps_done >= 2 for sample in samples))
    with asked() as found:
        bench.until(lambda: all(sample.num_steps_done >= 4 for sample in samples))
    bench.run()
    bench.close()
    assert [one for one in found if not keeps_sigmas_here(one)] == []


def keeps_sigmas_here(asking: str) -> bool:
    """Whether it is a scheduler that has its sigmas in host memory, wherever the model is."""
    file = Path(asking.split(" in ")[1].rpartition(":")[0])
    return file.parent.name == "schedulers" and 'self.sigmas = sigmas.to("cpu")' in file.read_text()


@pytest.mark.parametrize("family", ["flux"])
def test_adapters_that_come_into_a_batch_ask_nothing(family: str, tmp_path: Path) -> None:
    cards = tuple(tiny_loras.save(family, tmp_path, route, text=False) for route in ("one", "two"))
    bench = Workbench({family: built(family)}, cards)
    for routes in (("one",), ("two",), ("one", "two")):
        for seed, route in enumerate(routes):
            bench.add(job(family, "prompt", seed, 2, adapters=(AdapterUse(route),)))
        bench.run()
    first = bench.add(job(family, "prompt", 0, 8, adapters=(AdapterUse("one"),)))[0]
    bench.until(lambda: first.num_steps_done >= 2)
    bench.add(job(family, "prompt", 1, 8, adapters=(AdapterUse("two", 0.3),)))
    bench.until(lambda: first.num_steps_done >= 5)
    with asked() as found:
        bench.until(lambda: first.num_steps_done >= 7)
    bench.run()
    bench.close()
    assert [one for one in found if not keeps_sigmas_here(one)] == []
