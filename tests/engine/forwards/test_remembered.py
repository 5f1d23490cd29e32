"""Of what text encoders return, what is read is kept, and whoever reads has it alone."""

from typing import Any

import torch

from gateway.engine.forwards.remembered import Remembered
from tests.engine.conftest import built
from tests.engine.workbench import TOLERANCE, Workbench, alone, difference, job, picture

KIB = 1024


def states() -> dict[str, Any]:
    """A result of a kibibyte in each of its eight states."""
    return {"hidden_states": tuple(torch.full((KIB // 4,), float(n)) for n in range(8))}


def remembering(most_results: int = 16) -> Remembered:
    return Remembered(limit_bytes=16 * KIB, most_results=most_results)


def test_however_small_there_are_no_more_than_so_many() -> None:
    remembered = remembering(most_results=3)
    remembered.watched(states())["hidden_states"][-2].add_(1)
    for number in (0, 1, 2):
        remembered.put(number, states())
    assert remembered.get(0, states)
    remembered.put(3, states())
    assert [number for number in range(4) if number in remembered] == [0, 2, 3]


def test_only_what_is_read_takes_room() -> None:
    remembered = remembering()
    remembered.watched(states())["hidden_states"][-2].add_(1)
    for number in range(16):
        remembered.put(number, states())
    assert all(number in remembered for number in range(16))
    found = remembered.get(0, states)["hidden_states"]
    assert found[-2].unique().tolist() == [6.0]
    assert len(found) == 8


def test_a_part_that_was_not_kept_is_asked_for_again() -> None:
    remembered, asked = remembering(), list[str]()

    def again() -> Any:
        asked.append("again")
        return states()

    assert remembered.watched(states())["hidden_states"][6] is not None
    remembered.put("x", states())
    found = remembered.get("x", again)["hidden_states"]
    assert found[3].unique().tolist() == [3.0]
    assert asked == ["again"]
    assert "x" not in remembered, "what is asked for anew is kept as well from now on"


def test_copies_are_nobody_elses_and_stay_what_they_become() -> None:
    remembered = remembering()
    remembered.put("x", states())
    one, other = (remembered.get("x", states)["hidden_states"] for _ in range(2))
    one[2].zero_()
    assert one[2].unique().tolist() == [0.0]
    assert [part.unique().item() for part in other] == list(range(8))
    assert [part.unique().item() for part in other[2:4]] == [2, 3]


def test_other_layers_of_a_prompt_that_is_remembered_are_read() -> None:
    wanted = [
        job("sdxl", "a fox", seed, 2, arguments={} if skipped is None else {"clip_skip": skipped})
        for seed, skipped in enumerate((None, 1, None, 1, 2))
    ]
    pictures = [alone(built("sdxl"), one) for one in wanted]
    bench = Workbench({"sdxl": built("sdxl")})
    for one, expected in zip(wanted, pictures, strict=True):
        [sample] = bench.add(one)
        bench.run()
        assert difference(picture(sample), expected) <= TOLERANCE
    bench.close()
    assert bench.forwards["text_encoder.forward"] < len(wanted)
