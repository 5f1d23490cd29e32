"""What is told of an engine of several replicas; of one that really draws, see web/operator."""

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric

from gateway.catalog.collection import Collection
from gateway.engine.protocol import EngineStatus, LoadedEndpoint, ReplicaStatus
from gateway.telemetry.gauges import Gauges
from tests.small_engine import TestEngine, small_catalog


class Several(TestEngine):
    """Two replicas that both have an adapter in memory."""

    def status(self) -> EngineStatus:
        one = LoadedEndpoint("tiny", "P", "cpu#1", 1, ("style", "controlnet/edges"))
        two = LoadedEndpoint("tiny", "P", "cpu#2", 1, ("style",), ranks={"style": 4})
        return EngineStatus(
            ready=True, num_running=2, num_waiting=3, loaded=(one, two), queued_seconds=7.0,
            replicas=(
                ReplicaStatus(name="cpu#1", standing="ready", queued_seconds=7.0),
                ReplicaStatus(name="cpu#2", standing="dead"),
            ),
        )  # fmt: skip


def told(*, with_vllm: bool = False) -> list[Metric]:
    gauges = Gauges(
        CollectorRegistry(), Several(), Collection.of(small_catalog()), with_vllm=with_vllm
    )
    return list(gauges.collect())


def test_each_replicas_seconds_are_told() -> None:
    [queued] = [metric for metric in told() if metric.name == "gateway_queued_seconds"]
    assert {one.labels["replica"]: one.value for one in queued.samples} == {"cpu#1": 7, "cpu#2": 0}


def test_what_all_replicas_do_is_told_in_sum() -> None:
    values = {metric.name: [one.value for one in metric.samples] for metric in told()}
    assert (values["gateway_running_samples"], values["gateway_queue_depth"]) == ([2], [3])


def test_what_two_replicas_hold_is_told_once() -> None:
    [loaded] = [metric for metric in told() if metric.name == "gateway_adapter_loaded"]
    assert [one.labels["model"] for one in loaded.samples] == ["tiny:style"]


def test_every_metric_can_be_scraped() -> None:
    """By whichever name; a page that has one sample twice is refused whole."""

    class Told(CollectorRegistry):
        def collect(self) -> list[Metric]:
            return told(with_vllm=True)

    lines = [line for line in generate_latest(Told()).decode().splitlines() if line[0] != "#"]
    series = [line.rpartition(" ")[0] for line in lines]
    assert "vllm:num_requests_waiting" in " ".join(series)
    assert len(series) == len(set(series))
