"""A receipt says what made a picture, survives in its PNG, and makes the picture again."""

from typing import Any

import pytest

from gateway.images.encode import encode, read_text
from gateway.job import AdapterUse, Finished, Job, Pixels
from gateway.receipt import Receipt, differences, job_of, read_receipt, receipt_of, receipt_text

DIGESTS = {"tiny": "0123456789abcdef", "tiny:style": None}
PIXELS = Pixels(8, 4, 3, bytes(8 * 4 * 3))


def job(**changes: Any) -> Job:
    given: dict[str, Any] = {
        "id": "one",
        "endpoint": "tiny",
        "prompt": "ein grüner Apfel 🍏",
        "negative_prompt": "a pear",
        "num_inference_steps": 3,
        "guidance_scale": 1.5,
        "width": 8,
        "height": 4,
        "output_size": (16, 8),
        "seeds": (7, 8),
        "adapters": (AdapterUse("style", 0.5),),
        "scheduler": "EulerDiscreteScheduler",
        "scheduler_config": {"timestep_spacing": "trailing"},
        "arguments": {"sigmas": None},
    }
    return Job(**(given | changes))


def receipt(sample: int = 0, **changes: Any) -> Receipt:
    finished = Finished(sample, PIXELS, "EulerDiscreteScheduler")
    return receipt_of(job(**changes), finished, DIGESTS)


def test_it_says_what_made_the_picture() -> None:
    made = receipt(sample=1)
    assert (made.model, made.seed, made.num_inference_steps) == ("tiny", 8, 3)
    assert (made.width, made.height, made.output_size) == (8, 4, (16, 8))
    assert made.digests == DIGESTS
    assert made.scheduler == "EulerDiscreteScheduler"
    assert {"image-gateway", "diffusers"} <= set(made.versions)


def test_it_survives_in_the_png() -> None:
    made = receipt()
    png = encode(PIXELS, "png", text=receipt_text(made))
    assert read_receipt(read_text(png)) == made


def test_it_makes_the_same_job_again() -> None:
    again = job_of(receipt(sample=1), "one")
    assert again == job(seeds=(8,))
    assert job_of(receipt(scheduler=None), "one").scheduler is None


@pytest.mark.parametrize("text", [{}, {"Description": "x"}, {"gateway": "{"}, {"gateway": "{}"}])
def test_a_picture_without_one_says_so(text: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="receipt"):
        read_receipt(text)


def test_equal_receipts_do_not_differ() -> None:
    assert differences(receipt(), receipt()) == []


def test_each_part_that_differs_is_named() -> None:
    before = receipt()
    other = receipt_of(
        job(), Finished(0, PIXELS, "DDIMScheduler"), {"tiny": "fedcba9876543210", "tiny:style": None}
    )
    lines = differences(before, other)
    assert len(lines) == 2
    assert "0123456789abcdef then, fedcba9876543210 now" in lines[0]
    assert "EulerDiscreteScheduler then, DDIMScheduler now" in lines[1]


def test_inputs_that_a_receipt_does_not_hold_are_owned_up_to() -> None:
    edited = receipt(images=(PIXELS,), strength=0.5)
    assert any("input images" in line for line in differences(edited, receipt()))
