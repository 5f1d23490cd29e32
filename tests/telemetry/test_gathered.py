"""What other processes counted, in the sums that `/metrics` shows."""

from collections.abc import Iterable

from gateway.telemetry.gathered import Counted, Gathered, counted
from gateway.telemetry.metrics import BATCH_SIZE, LOADS

LABELS = {"model": "gathered"}


def value(gathered: Gathered, name: str, labels: dict[str, str]) -> float:
    samples = (one for metric in gathered.collect() for one in metric.samples)
    return sum(one.value for one in samples if one.name == name and one.labels == labels)


def own(name: str) -> Iterable[Counted]:
    return [one for one in counted() if one.name == name]


def test_what_several_processes_counted_is_one_sum() -> None:
    gathered = Gathered()
    LOADS.labels("gathered").inc(2)
    before = value(gathered, "gateway_loads_total", LABELS)
    gathered.note("one", tuple(own("gateway_loads")))
    gathered.note("other", tuple(own("gateway_loads")))
    assert value(gathered, "gateway_loads_total", LABELS) == 3 * before
    gathered.note("other", ())
    assert value(gathered, "gateway_loads_total", LABELS) == 2 * before


def test_what_an_ended_process_counted_stays_but_not_what_it_measured() -> None:
    gathered = Gathered()
    key = ("gateway_loads_total", (("model", "gathered"),))
    before = value(gathered, "gateway_loads_total", LABELS)
    gauge = ("gateway_websockets", ())
    sockets = value(gathered, "gateway_websockets", {})
    for _ in range(2):
        told = Counted("gateway_loads", "counter", {key: 5.0})
        gathered.note("a", (told, Counted("gateway_websockets", "gauge", {gauge: 7.0})))
        assert value(gathered, "gateway_websockets", {}) == sockets + 7
        gathered.forget("a")
    assert value(gathered, "gateway_loads_total", LABELS) == before + 10
    assert value(gathered, "gateway_websockets", {}) == sockets


def test_a_histogram_of_others_only_is_whole() -> None:
    BATCH_SIZE.labels("gathered", "unet").observe(3)
    told = tuple(own("gateway_batch_samples"))
    BATCH_SIZE.remove("gathered", "unet")
    gathered, labels = Gathered(), {"endpoint": "gathered", "component": "unet"}
    gathered.note("a", told)
    assert value(gathered, "gateway_batch_samples_count", labels) == 1
    buckets = [2.0, 4.0]
    found = [
        value(gathered, "gateway_batch_samples_bucket", labels | {"le": str(le)}) for le in buckets
    ]
    assert found == [0, 1]
