"""What PEFT writes, of whatever kind, draws what PEFT makes of the weights when it merges it."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file

from gateway.catalog.cards import CardError
from gateway.catalog.heads.kinds import PEFT_CONFIG, PEFT_FILE
from gateway.engine.adapters.adapter_files import adapter_files, read_adapter
from tests.engine.adapters.drawing import (
    Drawn,
    Weights,
    card,
    check_alike,
    denoiser,
    drawn_at_once,
    drawn_with,
)
from tests.engine.conftest import built
from tests.engine.workbench import CPU

PLAIN = {"target_modules": ["to_q", "to_v"]}
"""Not all of the layers, so that some stay as they are."""

KINDS: dict[str, Callable[[], Any]] = {
    "lora": lambda: peft.LoraConfig(
        r=4, lora_alpha=6, use_rslora=True, target_modules=["to_q", "to_k", "to_v", "conv1"],
        rank_pattern={"attn1.to_q": 2, r".*conv1": 3}, alpha_pattern={"attn2.to_v": 1},
    ),
    "lora-beside-whole-modules": lambda: peft.LoraConfig(
        r=2, lora_alpha=3, modules_to_save=["conv_out", "norm1"], **PLAIN
    ),
    "lora-and-biases": lambda: peft.LoraConfig(
        r=2, bias="all", target_modules=["to_q", "to_out.0"]
    ),
    "lora-with-biases": lambda: peft.LoraConfig(r=2, lora_bias=True, target_modules=["to_out.0"]),
    "adalora": lambda: peft.AdaLoraConfig(
        init_r=3, lora_alpha=4, total_step=1, target_modules=["to_q", "conv1"]
    ),
    "vera": lambda: peft.VeraConfig(r=8, **PLAIN),
    "vera-without-its-bases": lambda: peft.VeraConfig(r=8, save_projection=False, **PLAIN),
    "boft": lambda: peft.BOFTConfig(
        boft_block_size=4, boft_n_butterfly_factor=2, target_modules=["to_q", "conv1"]
    ),
    "boft-and-biases": lambda: peft.BOFTConfig(
        boft_block_size=4, bias="boft_only", target_modules=["to_out.0"]
    ),
    "oft": lambda: peft.OFTConfig(r=0, oft_block_size=8, **PLAIN),
    "hra": lambda: peft.HRAConfig(r=4, target_modules=["to_q", "conv1"]),
    "randlora": lambda: peft.RandLoraConfig(r=4, randlora_alpha=2, **PLAIN),
    "fourierft": lambda: peft.FourierFTConfig(n_frequency=60, **PLAIN),
    "norms": lambda: peft.LNTuningConfig(target_modules=["norm1"]),
    "loha-by-patterns": lambda: peft.LoHaConfig(
        r=2, alpha=3, rank_pattern={"attn1.to_q": 3}, alpha_pattern={"attn2": 1}, **PLAIN
    ),
}  # fmt: skip


def written(family: str, config: Any, folder: Path) -> Weights:
    """PEFT's own random adapter, written to a folder; the weights that it merges to."""
    own = denoiser(built(family)).state_dict()
    with torch.random.fork_rng():
        torch.manual_seed(8)
        model: Any = peft.PeftModel(copy.deepcopy(denoiser(built(family))), config)
        for name, weight in model.named_parameters():
            if "default" in name and "ranknum" not in name:
                spread = 0.3 if weight.any() else 0.2
                weight.data += spread * torch.randn_like(weight)
            elif name.endswith("bias") and getattr(config, "bias", "none") != "none":
                weight.data += 0.3
    model.save_pretrained(folder)
    # What it reads is what counts: it saves no bias of a layer that it does not change.
    again: Any = peft.PeftModel.from_pretrained(copy.deepcopy(denoiser(built(family))), folder)
    merged = again.merge_and_unload().state_dict()
    return {name: one for name, one in merged.items() if not torch.equal(one, own[name])}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Drawn:
    """All of the kinds at once, each at two scales."""
    folder, merged = tmp_path_factory.mktemp("tuned"), {}
    for kind, config in KINDS.items():
        merged[kind] = written("sd", config(), folder / kind)
    cards = {kind: card("sd", folder / kind / PEFT_FILE, kind) for kind in KINDS}
    return drawn_at_once("sd", cards, lambda kind, *asked: drawn_with("sd", merged[kind], *asked))


@pytest.mark.parametrize("kind", KINDS)
def test_what_peft_writes_draws_what_it_merges(kind: str, drawn: Drawn) -> None:
    check_alike(drawn, kind)


def test_kinds_of_few_ranks_are_kept_as_two_matrices(tmp_path: Path) -> None:
    for kind in ("vera", "adalora", "loha-by-patterns"):
        config = KINDS[kind]()
        config.target_modules = {"to_q"}
        written("sd", config, tmp_path / kind)
        weights = read_adapter(card("sd", tmp_path / kind / PEFT_FILE), built("sd"), CPU)
        assert weights.low_rank
        assert not weights.changes


def changed(folder: Path, **facts: Any) -> Path:
    """A LoRA as PEFT writes it, with other facts beside it."""
    written("sd", peft.LoraConfig(r=2, **PLAIN), folder)
    told = json.loads((folder / PEFT_CONFIG).read_text())
    (folder / PEFT_CONFIG).write_text(json.dumps(told | facts))
    return folder / PEFT_FILE


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        ({"init_lora_weights": "pissa_niter_4"}, "began as 'pissa_niter_4'"),
        ({"peft_type": "PROMPT_TUNING"}, "PROMPT_TUNING"),
        ({"peft_type": "NEVER_HEARD_OF"}, "NEVER_HEARD_OF"),
        ({"peft_type": None}, "adapter_config.json"),
        ({"peft_type": "OSF"}, "OSF weights are not read here"),
        ({"target_modules": ["conv_shortcut"]}, "conv_shortcut|nothing that it could change"),
        ({"r": 3}, "size mismatch"),
        ({"megatron_config": {"tensor_model_parallel_size": 1}}, "key 'megatron_config'"),
    ],
)
def test_a_configuration_that_cannot_be_followed_says_so(
    facts: dict[str, Any], says: str, tmp_path: Path
) -> None:
    with pytest.raises(CardError, match=says):
        read_adapter(card("sd", changed(tmp_path, **facts)), built("sd"), CPU)


def test_a_file_that_wants_its_configuration_says_so(tmp_path: Path) -> None:
    written("sd", KINDS["vera"](), tmp_path)
    file = tmp_path / PEFT_FILE
    (tmp_path / PEFT_CONFIG).unlink()
    with pytest.raises(CardError, match=r"VeRA weights want adapter_config\.json beside them"):
        read_adapter(card("sd", file), built("sd"), CPU)


def test_a_weight_that_is_missing_or_strange_is_named(tmp_path: Path) -> None:
    file = changed(tmp_path)
    weights = load_file(file)
    name = next(iter(weights))
    save_file({other: one for other, one in weights.items() if other != name}, file)
    with pytest.raises(CardError, match=r"lora_A\.adapter\.weight' is missing"):
        read_adapter(card("sd", file), built("sd"), CPU)
    save_file(weights | {"base_model.model.nowhere.lora_A.weight": weights[name].clone()}, file)
    with pytest.raises(CardError, match=r"nowhere\.lora_A.+' is nothing that it could change"):
        read_adapter(card("sd", file), built("sd"), CPU)


def test_a_configuration_is_a_part_of_what_is_read(tmp_path: Path) -> None:
    file = changed(tmp_path)
    assert adapter_files(card("sd", file)) == [file, tmp_path / PEFT_CONFIG]
