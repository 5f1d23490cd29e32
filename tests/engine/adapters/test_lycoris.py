"""What LyCORIS writes, by each of its algorithms, draws what its layers draw."""

import copy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from lycoris import create_lycoris
from safetensors.torch import save_file
from torch import Tensor

from gateway.job import Job
from tests.engine import tiny
from tests.engine.adapters.drawing import Drawn, card, check_alike, denoiser, drawn_at_once
from tests.engine.workbench import alone

KINDS: dict[str, dict[str, Any]] = {
    "locon": {"linear_alpha": 2},
    "locon-tucker": {"use_tucker": True},
    "loha": {"algo": "loha", "linear_alpha": 3},
    "loha-tucker": {"algo": "loha", "use_tucker": True},
    "lokr": {"algo": "lokr", "factor": 4},
    "lokr-tucker": {"algo": "lokr", "factor": 4, "use_tucker": True, "linear_dim": 2},
    "lokr-both": {"algo": "lokr", "decompose_both": True, "linear_dim": 1},
    "lokr-whole": {"algo": "lokr", "full_matrix": True},
    "glora": {"algo": "glora", "linear_alpha": 2},
    "ia3": {"algo": "ia3"},
    "full": {"algo": "full"},
    "norms": {"train_norm": True},
    "diag-oft": {"algo": "diag-oft", "rescaled": True},
    "diag-oft-bounded": {"algo": "diag-oft", "constraint": 0.01},
    "boft": {"algo": "boft", "rescaled": True},
    "boft-bounded": {"algo": "boft", "constraint": 0.01},
}
WHOLE: dict[str, dict[str, Any]] = {
    "dora": {"dora_wd": True},
    "dora-of-inputs": {"dora_wd": True, "wd_on_output": False},
    "doha": {"algo": "loha", "dora_wd": True},
    "dokr": {"algo": "lokr", "factor": 4, "dora_wd": True},
}
"""Kinds of which LyCORIS and diffusers mean another thing by half of it."""


@cache
def untouched() -> Any:
    """A pipeline that no engine has ever held: a copy of a module's entry is the module's still."""
    return tiny.build("sd")


class Trained:
    """A random network of LyCORIS' own over a pipeline's denoiser, and its file.

    Its layers' forwards are what was trained, and what counts: for LoHa and LoKr its merging
    multiplies by `alpha / rank` twice.
    """

    def __init__(self, kind: str, file: Path) -> None:
        module = copy.deepcopy(denoiser(untouched()))
        with torch.random.fork_rng():
            torch.manual_seed(4)
            facts = {"linear_dim": 4, "linear_alpha": 4} | (KINDS | WHOLE)[kind]
            self._network: Any = create_lycoris(module, 1.0, preset="full", **facts)
            self._network.apply_to()
            for name, weight in self._network.named_parameters():
                kept = weight if name.endswith(("dora_scale", "rescale")) else 0
                weight.data = kept + 0.2 * torch.randn_like(weight)
        self._network.eval().requires_grad_(False)
        weights = self._network.state_dict()
        save_file({name: one.contiguous() for name, one in weights.items()}, file)
        self._pipeline = copy.copy(untouched())
        vars(self._pipeline)["unet"] = module

    def drawn(self, scale: float, wanted: Job) -> Tensor:
        """What its layers draw at a scale."""
        self._network.set_multiplier(scale)
        return alone(self._pipeline, wanted)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Drawn:
    """All of the kinds at once, each at two scales."""
    folder = tmp_path_factory.mktemp("lycoris")
    files = {kind: folder / f"{kind}.safetensors" for kind in KINDS | WHOLE}
    trained = {kind: Trained(kind, file) for kind, file in files.items()}
    cards = {kind: card("sd", file, kind) for kind, file in files.items()}
    return drawn_at_once("sd", cards, lambda kind, *asked: trained[kind].drawn(*asked))


@pytest.mark.parametrize("kind", KINDS)
def test_what_lycoris_writes_draws_what_its_layers_draw(kind: str, drawn: Drawn) -> None:
    check_alike(drawn, kind)


@pytest.mark.parametrize("kind", WHOLE)
def test_what_it_stretches_draws_the_same_where_it_is_meant_whole(kind: str, drawn: Drawn) -> None:
    check_alike({kind: drawn[kind][:1]}, kind)
