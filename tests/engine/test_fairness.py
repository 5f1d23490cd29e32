"""Keys of any sizes have equal parts of a device, and who is refused is in at the second try."""

import pytest

from tests.engine.simulated import Client, Seen, Simulation


def crowd(owner: str, size: int, **facts: object) -> list[Client]:
    return [Client(owner, **facts) for _ in range(size)]  # type: ignore[arg-type]


def shares(seen: dict[str, Seen]) -> list[float]:
    """Of the device's time, so many times an equal part."""
    total = sum(one.seconds for one in seen.values())
    return [len(seen) * one.seconds / total for one in seen.values()]


@pytest.mark.parametrize(
    "clients",
    [
        crowd("a", 180) + crowd("b", 20),
        crowd("a", 180, asks="same") + crowd("b", 20, asks="same"),
        crowd("a", 100) + crowd("b", 40) + crowd("c", 10),
        crowd("a", 60, n=2) + crowd("b", 20, n=4),
        crowd("a", 150, steps=1) + crowd("b", 20, steps=10),
        crowd("a", 60, steps=10) + crowd("b", 100, steps=1),
    ],
    ids=["180/20", "all-the-same", "three", "mixed-n", "few-steps", "many-steps"],
)
def test_shares_are_equal_and_the_second_try_is_let_in(clients: list[Client]) -> None:
    simulation = Simulation(clients)
    seen = simulation.run(40)
    assert all(0.9 <= share <= 1.1 for share in shares(seen)), seen
    assert sum(one.refusals for one in seen.values()) > 20
    assert simulation.median_tries <= 2


@pytest.mark.parametrize(("believed", "tries"), [(0.3, 3), (4.0, 2)])
def test_a_wrong_belief_costs_no_share_and_a_try_at_most(believed: float, tries: int) -> None:
    simulation = Simulation(crowd("a", 120) + crowd("b", 20), believed=believed)
    assert all(0.9 <= share <= 1.1 for share in shares(simulation.run(30, warm_seconds=0.0)))
    assert simulation.median_tries <= tries


def test_who_asks_for_something_else_at_every_try_is_let_in_too() -> None:
    simulation = Simulation(crowd("a", 100, asks="new") + crowd("b", 20, asks="new"))
    assert all(0.9 <= share <= 1.1 for share in shares(simulation.run(40)))
    assert simulation.median_tries <= 3


def test_one_client_has_as_much_as_five_hundred_while_it_asks() -> None:
    simulation = Simulation(crowd("a", 500) + crowd("b", 1, think_seconds=0.0))
    seen = simulation.run(15, warm_seconds=5)
    assert all(0.9 <= share <= 1.1 for share in shares(seen)), seen
    assert not seen["b"].refusals


@pytest.mark.parametrize(("max_batch", "max_waiting"), [(64, 256), (1, 8), (2, 6)])
def test_places_of_any_number_are_shared(max_batch: int, max_waiting: int) -> None:
    clients = crowd("a", 60) + crowd("b", 12)
    simulation = Simulation(clients, max_batch=max_batch, max_waiting=max_waiting)
    assert all(0.9 <= share <= 1.1 for share in shares(simulation.run(40)))
    assert simulation.median_tries <= 2


def test_where_a_forward_costs_the_same_for_many_nobody_is_held_back() -> None:
    """On a GPU a few samples cost what many do: one key's flood still fills the forwards."""
    costs = {"fixed": 0.1, "each": 0.001, "max_batch": 32}
    alone = Simulation(crowd("a", 100), **costs).run(15, 10)["a"].answers  # type: ignore[arg-type]
    seen = Simulation(crowd("a", 100) + crowd("b", 1), **costs).run(15, 10)  # type: ignore[arg-type]
    assert seen["a"].answers > 0.9 * alone
    assert seen["b"].answers >= 15 / (7 * 0.14 + 0.2) - 1


def test_batches_take_no_place_from_people() -> None:
    people = crowd("b", 4)
    alone = Simulation(people, max_waiting=8).run(30, warm_seconds=5)["b"].answers
    clients = crowd("a", 40, is_batch=True) + crowd("b", 4)
    seen = Simulation(clients, max_waiting=8).run(30, warm_seconds=5)
    assert not seen["b"].refusals
    assert seen["b"].answers > 0.4 * alone, "beside each of them goes one of a batch at most"
