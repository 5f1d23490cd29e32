"""Pictures of any shape come to any other, without a giant in between."""

import resource

import pytest
from PIL import Image

from gateway.images.scale import at_own_size, scaled, within
from gateway.job import Job, Pixels


def test_a_pillar_becomes_a_hall_without_a_giant_between() -> None:
    pillar = Image.new("L", (2, 200_000), 7)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    hall = scaled(pillar, (8000, 100), Image.Resampling.LANCZOS)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # KiB
    assert (hall.size, hall.getextrema()) == ((8000, 100), (7, 7))


@pytest.mark.parametrize(
    ("size", "expected"),
    [((64, 48), (64, 48)), ((128, 64), (64, 32)), ((64, 640), (6, 64)), ((9000, 1), (64, 1))],
)
def test_only_what_is_too_long_is_scaled_down(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert within(Image.new("RGB", size), 64).size == expected


def test_a_job_brings_its_pictures_at_its_own_size() -> None:
    picture = Pixels(32, 16, 3, bytes(range(256)) * 6)
    mask = Pixels(8, 8, 1, bytes(64))
    job = Job(
        id="", endpoint="e", prompt="", num_inference_steps=1, width=16, height=16, seeds=(1,),
        images=(picture,), mask=mask,
    )
    found = at_own_size(job)
    wanted = Image.frombytes("RGB", (32, 16), picture.data).resize(
        (16, 16), Image.Resampling.LANCZOS
    )
    assert found.images[0].data == wanted.tobytes()
    assert found.mask is not None
    assert (found.mask.width, found.mask.height) == (16, 16)
