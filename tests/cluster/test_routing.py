"""Who draws what, by tables: a job, the replicas as they are, and the one that is to have it."""

from collections import Counter
from typing import Any

import pytest

from gateway.cluster.routing import (
    Part,
    Replica,
    Task,
    choose,
    fastest,
    home,
    moves,
    seen,
    task_of,
)
from gateway.engine.protocol import EngineStatus, LoadedEndpoint, Space
from gateway.job import Job

GIB = 2**30
SDXL = Part("sdxl", 6 * GIB, 12.0)
FLUX = Part("flux", 24 * GIB, 40.0)
INK = Part("sdxl:ink", GIB // 8, 2.0)
PLAIN = Task(endpoint=SDXL)
INKED = Task(endpoint=SDXL, beside=(INK,))
BATCH = Task(endpoint=SDXL, priority="batch")
BOTH = frozenset({"sdxl", "sdxl:ink"})


def replica(id: str, seconds: float = 0.0, *, models: Any = ("sdxl",), **more: Any) -> Replica:
    return Replica(id=id, queued_seconds=seconds, models=frozenset(models), **more)


def gib(total: float, used: float = 0) -> Space:
    return Space(int(total * GIB), int(used * GIB))


HOME = home("sdxl:ink", [replica("a"), replica("b")])
OTHER = "b" if HOME == "a" else "a"


@pytest.mark.parametrize(
    ("task", "replicas", "chosen"),
    [
        pytest.param(PLAIN, [replica("a", 3), replica("b", 2), replica("c", 4)], "b",
                     id="the one with the least work"),
        pytest.param(PLAIN, [replica("a", 3), replica("b", 2, models=())], "a",
                     id="loading takes longer than waiting"),
        pytest.param(PLAIN, [replica("a", 31), replica("b", 2, models=())], "b",
                     id="waiting takes longer than loading"),
        pytest.param(INKED, [replica("a", 1.5, models=BOTH), replica("b")], "a",
                     id="an adapter in memory is worth what loading it takes"),
        pytest.param(INKED, [replica(str(HOME), 3.1, models=BOTH), replica(OTHER)], OTHER,
                     id="a hot adapter spreads once its home is behind"),
        pytest.param(INKED, [replica(str(HOME), 2.9, models=BOTH), replica(OTHER)], HOME,
                     id="and no sooner"),
        pytest.param(INKED, [replica(str(HOME), 0.9), replica(OTHER)], HOME,
                     id="one that is nowhere is loaded at its home"),
        pytest.param(INKED, [replica(str(HOME), 1.1), replica(OTHER)], OTHER,
                     id="but not where that keeps it waiting"),
        pytest.param(INKED, [replica(str(HOME), beside=gib(1, 1)), replica(OTHER)], OTHER,
                     id="where there is room rather than where another has to go"),
        pytest.param(INKED, [replica(str(HOME), beside=gib(1, 1)),
                             replica(OTHER, 1.1, beside=gib(1))], HOME,
                     id="unless that is the busier one"),
        pytest.param(INKED, [replica("a", 5), replica("b", models=())], "a",
                     id="an adapter is nothing without its endpoint"),
        pytest.param(Task(endpoint=FLUX), [replica("a", weights=gib(12)),
                                           replica("b", 90, weights=gib(40, 6))], "b",
                     id="an endpoint goes where it fits, however busy that is"),
        pytest.param(Task(endpoint=FLUX), [replica("a", weights=gib(40, 30)),
                                           replica("b", 15, weights=gib(40))], "b",
                     id="rather where nothing has to go for it"),
        pytest.param(Task(endpoint=FLUX), [replica("a", weights=gib(8)),
                                           replica("b", weights=gib(12))], "b",
                     id="or where most of it does"),
        pytest.param(Task(endpoint=FLUX), [replica("a", models=("flux",), weights=gib(12)),
                                           replica("b", 1, weights=gib(40))], "a",
                     id="and where it lies it does fit"),
        pytest.param(PLAIN, [replica("a", 8, batch_seconds=7), replica("b", 4)], "a",
                     id="people wait for no batch"),
        pytest.param(BATCH, [replica("a", 8, batch_seconds=7), replica("b", 4)], "b",
                     id="a batch waits for everyone"),
        pytest.param(Task(endpoint=SDXL, num_steps=20),
                     [replica("a", step_seconds={"sdxl": 0.5}),
                      replica("b", 4, step_seconds={"sdxl": 0.1})], "b",
                     id="a faster device is done sooner"),
        pytest.param(Task(endpoint=SDXL, num_steps=20),
                     [replica("a", 0.1), replica("b", step_seconds={"sdxl": 0.5})], "b",
                     id="one whose pace is not known yet is no faster"),
        *(
            pytest.param(PLAIN, [replica("a", standing=standing), replica("b", 1e6)], "b",
                         id=f"never one that is {standing}")
            for standing in ("starting", "draining", "dead")
        ),
        pytest.param(PLAIN, [replica("a", standing="dead")], None,
                     id="nobody, where none is ready"),
        pytest.param(PLAIN, [], None, id="nobody, where there is none"),
    ],
)  # fmt: skip
def test_who_draws_it(task: Task, replicas: list[Replica], chosen: str | None) -> None:
    for order in (replicas, replicas[::-1]):
        found = choose(task, order)
        assert (found.id if found else None) == chosen


def test_who_is_to_be_avoided_is() -> None:
    replicas = [replica("a"), replica("b", 1e6)]
    assert choose(PLAIN, replicas, avoid={"a"}) == replicas[1]
    assert choose(PLAIN, replicas, avoid={"a", "b"}) is None


def test_ties_are_broken_alike_by_everyone() -> None:
    replicas = [replica(f"gpu-{number}") for number in range(8)]
    for number in range(20):
        part = Part(f"sdxl:{number}", GIB, 1.0)
        task = Task(endpoint=SDXL, beside=(part,))
        for order in (replicas, replicas[::-1], replicas[3:] + replicas[:3]):
            found = choose(task, order)
            assert found
            assert found.id == home(part.id, replicas)


def test_homes_are_spread_and_stay_when_a_replica_goes() -> None:
    replicas = [replica(f"gpu-{number}") for number in range(4)]
    adapters = [f"sdxl:{number}" for number in range(400)]
    homes = {one: home(one, replicas) for one in adapters}
    assert all(60 < number < 140 for number in Counter(homes.values()).values())
    left = [one for one in replicas if one.id != "gpu-2"]
    moved = {one for one in adapters if home(one, left) != homes[one]}
    assert moved == {one for one in adapters if homes[one] == "gpu-2"}


def test_homes_are_those_of_the_last_release() -> None:
    """Fronts of two releases, side by side in a rolling upgrade, load an adapter once."""
    replicas = [replica(f"gpu-{number}") for number in range(4)]
    homes = [home(f"sdxl:{name}", replicas) for name in ("ink", "3d", "line", "clay")]
    assert homes == ["gpu-3", "gpu-0", "gpu-1", "gpu-0"]


def test_what_was_given_since_counts() -> None:
    """A burst of jobs between two looks goes to all, not to whoever was idle."""
    replicas = {one.id: one for one in (replica("a"), replica("b", 0.25))}
    task, drawn = Task(endpoint=SDXL, num_steps=4), Counter[str]()
    for _ in range(9):
        chosen = choose(task, list(replicas.values()))
        assert chosen
        replicas[chosen.id] = chosen.given(task, 0.1)
        drawn[chosen.id] += 1
    assert sorted(drawn.values()) == [4, 5]


def test_an_adapter_on_its_way_is_loaded_once() -> None:
    first, second = replica(str(HOME), 0.5, beside=gib(1)), replica(OTHER)
    taken = first.given(INKED)
    assert "sdxl:ink" in taken.models
    assert taken.beside.used_bytes == INK.size_bytes
    assert taken.queued_seconds == 2.5
    assert choose(INKED, [taken, second]) == taken


def test_a_thousand_adapters_share_the_memory_of_all() -> None:
    """Each is in memory once while nobody is behind: no replica holds what another has."""
    replicas = {f"gpu-{n}": replica(f"gpu-{n}", 0.02 * n, beside=gib(64)) for n in range(4)}
    for number in [*range(200), *range(200)]:
        task = Task(endpoint=SDXL, beside=(Part(f"sdxl:{number}", GIB // 8, 0.5),), num_steps=0)
        chosen = choose(task, list(replicas.values()))
        assert chosen
        after = chosen.given(task)
        replicas[chosen.id] = Replica(
            id=after.id, models=after.models, beside=after.beside,
            queued_seconds=chosen.queued_seconds,
        )  # what it took was done before the next one came
    held = Counter(model for one in replicas.values() for model in one.models - {"sdxl"})
    assert len(held) == 200
    assert set(held.values()) == {1}
    assert all(30 < len(one.models) < 75 for one in replicas.values())


def waiting(num_tasks: int, num_steps: int, at: str = "a") -> list[tuple[str, Task]]:
    return [(at, Task(endpoint=SDXL, num_steps=num_steps))] * num_tasks


PACE = {"sdxl": 1.0}


@pytest.mark.parametrize(
    ("waits", "replicas", "moving"),
    [
        pytest.param(waiting(4, 2), [replica("a", 2, step_seconds=PACE), replica("new")], [0, 2],
                     id="the first to come goes first, and half of them"),
        pytest.param(waiting(4, 2), [replica("a", step_seconds=PACE), replica("new", 9)], [],
                     id="who is done as soon where it is stays"),
        pytest.param(waiting(12, 2), [replica("a", step_seconds=PACE), replica("new", models=())],
                     [10, 11], id="no more than is worth a load"),
        pytest.param(waiting(2, 2), [replica("a", 30, step_seconds=PACE),
                                     replica("new", weights=gib(4))], [0, 1],
                     id="what it has in memory it need not have room for"),
        pytest.param(waiting(2, 2), [replica("a", 30, step_seconds=PACE),
                                     replica("new", models=(), weights=gib(4))], [],
                     id="none where there is no room"),
        pytest.param([*waiting(1, 2), *waiting(1, 2, "b")],
                     [replica("a", 5), replica("b", 5), replica("c"), replica("new", 4.9)], [0],
                     id="nor to whom nobody has come"),
    ],
)  # fmt: skip
def test_what_waits_goes_to_who_comes_where_it_is_done_sooner(
    waits: list[tuple[str, Task]], replicas: list[Replica], moving: list[int]
) -> None:
    assert moves(waits, replicas, "new") == moving


def test_the_fastest_pace_is_of_those_that_have_one() -> None:
    replicas = [replica("a"), replica("b", step_seconds={"sdxl": 0.3}),
                replica("c", step_seconds={"sdxl": 0.2, "flux": 0.1}),
                replica("d", step_seconds={"sdxl": 0.0})]  # fmt: skip
    assert fastest("sdxl", replicas) == 0.2
    assert fastest("sd3", replicas) == 0


def test_a_replica_is_seen_by_what_its_engine_says() -> None:
    loaded = LoadedEndpoint(
        "sdxl", "P", "cuda:0", GIB, ("ink",), digests={"sdxl": "1", "sdxl:ink": None}
    )
    status = EngineStatus(
        ready=True, num_running=1, num_waiting=2, loaded=(loaded,), queued_seconds=3.0,
        batch_seconds=1.0, sample_step_seconds={"sdxl": 0.1}, weights=gib(40, 1),
        beside=gib(2, 1),
    )
    assert seen("a", status, "draining") == Replica(
        id="a", standing="draining", queued_seconds=3.0, batch_seconds=1.0, models=BOTH,
        weights=gib(40, 1), beside=gib(2, 1), step_seconds={"sdxl": 0.1},
    )


def test_loads_take_what_they_took_or_what_their_size_says() -> None:
    slow, quick = (
        EngineStatus(ready=True, num_running=0, num_waiting=0, load_seconds={"sdxl": seconds})
        for seconds in (9.0, 4.0)
    )
    wanted = Job(
        id="1", endpoint="sdxl", prompt="a", num_inference_steps=5, width=8, height=8,
        seeds=(1, 2), priority="batch",
    )
    task = task_of(wanted, ["sdxl:ink"], {"sdxl": 6 * GIB, "sdxl:ink": GIB}, [slow, quick])
    assert task == Task(
        endpoint=Part("sdxl", 6 * GIB, 4.0), beside=(Part("sdxl:ink", GIB, 2.1),),
        num_steps=10, priority="batch",
    )
    assert task_of(wanted, [], {}, []).endpoint == Part("sdxl", 0, 0.1)
