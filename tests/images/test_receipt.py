"""A receipt says what made a picture, survives inside it, and makes the same job again."""

import msgspec
import pytest

from gateway.images.encode import encode, read_text
from gateway.images.receipt import (
    KEY,
    Receipt,
    differences,
    job_of,
    library_versions,
    read_receipt,
    receipt_of,
    receipt_text,
)
from gateway.job import AdapterUse, Finished, Job, Pixels

PIXELS = Pixels(8, 4, 3, bytes(96))
JOB = Job(
    id="one",
    endpoint="tiny",
    prompt="ein Apfel 🍎, größer",
    negative_prompt="blue",
    num_inference_steps=3,
    guidance_scale=2.5,
    width=64,
    height=32,
    output_size=(8, 4),
    seeds=(7, 2**63),
    adapters=(AdapterUse("style", 0.5),),
    scheduler="EulerDiscreteScheduler",
    scheduler_config={"use_karras_sigmas": True},
    arguments={"max_sequence_length": 64},
)
DIGESTS = {"tiny": "a" * 16, "tiny:style": None}


def receipt(sample: int = 1) -> Receipt:
    return receipt_of(JOB, Finished(sample, PIXELS, "EulerDiscreteScheduler", digests=DIGESTS))


def test_it_survives_in_a_png_and_makes_the_same_job() -> None:
    png = encode(PIXELS, "png", text=receipt_text(receipt()))
    text = read_text(png)
    assert text["Description"] == JOB.prompt
    found = read_receipt(text)
    assert found == receipt()
    again = job_of(found, "two")
    assert again == msgspec.structs.replace(JOB, id="two", seeds=(2**63,))


def test_each_sample_has_its_own_seed() -> None:
    assert [receipt(sample).seed for sample in (0, 1)] == [7, 2**63]


def test_versions_are_those_installed() -> None:
    versions = library_versions()
    assert {"image-gateway", "diffusers", "torch"} <= set(versions)
    assert all(versions.values())


def test_nothing_differs_from_itself() -> None:
    assert differences(receipt(), receipt()) == []


def test_each_difference_is_named() -> None:
    then = receipt()
    now = msgspec.structs.replace(
        then,
        digests={"tiny": "b" * 16, "tiny:style": None},
        versions={**then.versions, "diffusers": "9.9"},
        scheduler="DDIMScheduler",
    )
    weights, library, scheduler = differences(then, now)
    assert weights == f"weights of tiny: {'a' * 16} then, {'b' * 16} now"
    assert library.startswith("diffusers: ")
    assert library.endswith(" then, 9.9 now")
    assert scheduler == "scheduler: EulerDiscreteScheduler then, DDIMScheduler now"


def test_an_edit_says_that_its_inputs_are_not_kept() -> None:
    edit = msgspec.structs.replace(JOB, images=(PIXELS,), strength=0.5)
    made = receipt_of(edit, Finished(0, PIXELS, "DDIMScheduler", digests=DIGESTS))
    assert made.num_images == 1
    assert "input images" in differences(made, made)[0]


@pytest.mark.parametrize(
    ("text", "fault"),
    [({}, "carries no receipt"), ({KEY: "{"}, "cannot be read"), ({KEY: "{}"}, "cannot be read")],
)
def test_what_is_no_receipt_is_refused(text: dict[str, str], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        read_receipt(text)
