"""What was not done as asked is told, as far as only a pipeline knows it."""

import math
from typing import Any

import msgspec
import pytest
import torch

from gateway.job import Failed, Finished, Job, Preview
from gateway.remarks import Remark
from tests.engine import tiny
from tests.engine.conftest import built
from tests.engine.workbench import Workbench, job


def told(family: str, wanted: Job) -> dict[str, Remark]:
    """The remarks on a job's one picture, by code."""
    bench = Workbench({family: built(family)})
    bench.add(wanted)
    bench.run()
    bench.close()
    [finished] = [event for event in bench.events if isinstance(event, Finished)]
    assert len(finished.remarks) == len({remark.code for remark in finished.remarks})
    return {remark.code: remark for remark in finished.remarks}


# The tiny tokenizers have a token a byte; of 77, two mark beginning and end.
@pytest.mark.parametrize(
    ("family", "window"),
    [("sd", 75), ("sdxl", 75), ("lcm", 75), ("pixart_sigma", 298)],
)
def test_a_prompt_that_is_cut_says_what_was_not_read(family: str, window: int) -> None:
    prompt = "a" * window + "bcdef"
    remark = told(family, job(family, prompt, 1, 1))["prompt_cut"]
    assert remark.param == "prompt"
    assert "bcdef" in remark.message
    assert f"5 of {window + 5} tokens were not read" in remark.message
    assert told(family, job(family, prompt[:window], 1, 1)) == {}


def test_tokens_that_a_pipeline_itself_cuts_off_were_not_read_either() -> None:
    wanted = job("qwen_image", "a" * 40 + " whale", 1, 1, arguments={"max_sequence_length": 43})
    remark = told("qwen_image", wanted)["prompt_cut"]
    assert "3 of 46 tokens were not read" in remark.message
    assert "ale'" in remark.message
    wanted = job("qwen_image", "a" * 40 + " whale", 1, 1, arguments={"max_sequence_length": 46})
    assert told("qwen_image", wanted) == {}


@pytest.mark.parametrize(
    ("tokenizer", "prompt", "says"),
    [
        (tiny.letters(16), "a red apple on a table", ("prompt_cut", "7 of 22 tokens", "a table")),
        (tiny.letters(16), "caf\u00e9 \u043a\u043e\u0442", None),
        (tiny.words("a", "red", "apple", length=5), "a red apple apple red",
         ("prompt_cut", "2 of 5 tokens", "apple red")),
        (tiny.words("a", "red", length=9), "a red kiwi \u732b",
         ("words_unknown", "kiwi", "\u732b")),
    ],
    ids=["cut letters", "letters of any kind", "cut words", "unknown words"],
)  # fmt: skip
def test_tokenizers_in_python_are_heard_too(
    monkeypatch: pytest.MonkeyPatch, tokenizer: Any, prompt: str, says: tuple[str, ...] | None
) -> None:
    monkeypatch.setattr(built("sd"), "tokenizer", tokenizer)
    found = told("sd", job("sd", prompt, 1, 1))
    if says is None:
        assert found == {}
        return
    code, *parts = says
    assert found.keys() == {code}
    assert all(part in found[code].message for part in parts)


def test_a_prompt_inside_of_a_pipelines_own_words_is_heard() -> None:
    remark = told("qwen_image", job("qwen_image", "a" * 2000 + " whale", 1, 1))["prompt_cut"]
    assert (remark.param, "aaaa" in remark.message) == ("prompt", True)


def test_a_long_text_that_is_read_beside_the_turns_is_heard_as_well() -> None:
    remark = told("sd", job("sd", "a" * 75 + "b" * 5000, 1, 1))["prompt_cut"]
    assert "5000 of 5075" in remark.message
    assert len(remark.message) < 400


def test_a_negative_prompt_is_cut_and_named_as_itself() -> None:
    wanted = job("sd", "a", 1, 1, negative_prompt="b" * 80, guidance_scale=5.0)
    assert told("sd", wanted)["prompt_cut"].param == "negative_prompt"


@pytest.mark.parametrize(
    ("family", "guidance", "is_used"),
    [("sd", 1.0, False), ("sd", 5.0, True), ("sdxl", 0.0, False), ("sdxl", 3.0, True),
     ("flux", 4.0, False), ("lcm", 8.0, False)],
)  # fmt: skip
def test_a_negative_prompt_that_no_tokenizer_reads(
    family: str, guidance: float, is_used: bool
) -> None:
    # A negative prompt may be a part of the prompt, or the other way round.
    for prompt, negative in (("a red apple", "apple"), ("apple", "a red apple"), ("a", "b")):
        remarks = told(
            family, job(family, prompt, 1, 1, negative_prompt=negative, guidance_scale=guidance)
        )
        assert ("negative_prompt_unused" in remarks) is not is_used


def test_words_in_a_script_that_the_tokenizer_takes_to_pieces() -> None:
    wanted = job("sd", "a red caf\u00e9 \u043a\u043e\u0442 \u732b", 1, 1)
    message = told("sd", wanted)["words_unknown"].message
    assert all(word in message for word in ("\u043a\u043e\u0442", "\u732b"))
    assert "red" not in message


def test_an_argument_that_the_pipeline_has_none_of() -> None:
    remark = told("sana", job("sana", "a", 1, 1, arguments={"clip_skip": 1}))["no_effect"]
    assert (remark.param, "SanaPipeline" in remark.message) == ("clip_skip", True)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_never_become_a_picture(number: float) -> None:
    pipeline = built("sd")
    bias = pipeline.unet.conv_out.bias
    before = bias.detach().clone()
    bench = Workbench({"sd": pipeline})
    try:
        with torch.no_grad():
            bias.fill_(number)
        bench.add(job("sd", "a", 1, 3, num_previews=1))
        bench.run()
    finally:
        with torch.no_grad():
            bias.copy_(before)
        bench.close()
    ends: list[Any] = [event for event in bench.events if isinstance(event, Failed | Finished)]
    assert [(type(end), getattr(end, "code", None)) for end in ends] == [(Failed, "not_finite")]
    assert "not finite" in ends[0].error().message
    assert not [event for event in bench.events if isinstance(event, Preview)]


@pytest.mark.parametrize(
    ("family", "wanted", "num_tokens"),
    [
        # A token a byte: what two tokenizers read counts once, and what is cut off not at all.
        ("sd", {"prompt": "a cat"}, 5),
        ("sdxl", {"prompt": "a cat"}, 5),
        ("sd", {"prompt": "a" * 100}, 75),
        ("sd", {"prompt": "a cat", "guidance_scale": 5.0, "negative_prompt": "blur"}, 9),
        ("sdxl", {"prompt": ""}, 0),
        # Inside of what the pipeline writes around it.
        ("qwen_image", {"prompt": "a cat"}, 5),
        ("flux", {"prompt": "a cat"}, None),
    ],
)
def test_what_was_read_is_counted(
    family: str, wanted: dict[str, Any], num_tokens: int | None
) -> None:
    bench = Workbench({family: built(family)})
    drawn = msgspec.structs.replace(job(family, wanted["prompt"], 1, 1), **wanted)
    bench.add(drawn)
    bench.run()
    bench.close()
    [finished] = [event for event in bench.events if isinstance(event, Finished)]
    assert finished.num_tokens is not None
    assert num_tokens in (None, finished.num_tokens)
