"""What other processes of the gateway have counted, added to what this one has."""

from collections.abc import Iterator, Sequence

import msgspec
from prometheus_client import REGISTRY
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

PREFIX = "gateway_"
ACCUMULATING = ("counter", "histogram", "summary")

Values = dict[tuple[str, tuple[tuple[str, str], ...]], float]
"""By a sample's name and its labels."""


class Counted(msgspec.Struct, frozen=True):
    """A metric of a process, with the values of all its labels."""

    name: str
    kind: str
    values: Values


def counted() -> tuple[Counted, ...]:
    """What this process has counted of what is the gateway's own."""
    metrics = (metric for metric in REGISTRY.collect() if metric.name.startswith(PREFIX))
    found = (Counted(metric.name, metric.type, _values(metric)) for metric in metrics)
    return tuple(one for one in found if any(one.values.values()))


class Gathered(Collector):
    """This process's metrics, each with what others counted of the same added to it.

    What a process that has ended counted stays, so that no counter goes backwards.
    """

    def __init__(self) -> None:
        self._told: dict[str, Sequence[Counted]] = {}
        self._left: dict[str, Values] = {}

    def note(self, process: str, told: Sequence[Counted]) -> None:
        """Take what a process has counted until now."""
        self._told[process] = told

    def forget(self, process: str) -> None:
        """A process has ended."""
        for metric in self._told.pop(process, ()):
            if metric.kind in ACCUMULATING:
                _add(self._left.setdefault(metric.name, {}), metric.values)

    def collect(self) -> Iterator[Metric]:
        """All metrics of this process, those that others counted as well with theirs added."""
        others = {name: dict(values) for name, values in self._left.items()}
        for told in list(self._told.values()):
            for other in told:
                _add(others.setdefault(other.name, {}), other.values)
        for metric in REGISTRY.collect():
            yield _joined(metric, others[metric.name]) if metric.name in others else metric


GATHERED = Gathered()
"""What `/metrics` shows: to be written as a registry is."""


def _values(metric: Metric) -> Values:
    return {
        (sample.name, tuple(sample.labels.items())): sample.value
        for sample in metric.samples
        if not sample.name.endswith("_created")
    }


def _add(sums: Values, values: Values) -> None:
    for key, value in values.items():
        sums[key] = sums.get(key, 0.0) + value


def _joined(metric: Metric, values: Values) -> Metric:
    joined, sums = Metric(metric.name, metric.documentation, metric.type), _values(metric)
    _add(sums, values)
    for (name, labels), value in sums.items():
        joined.add_sample(name, dict(labels), value)
    return joined
