"""Parked calls answered: those that can share a forward are merged, run once, and split.

A fault is its culprit's alone. A group that runs out of memory is halved, a group that
fails otherwise is run again one by one, and what was learned is kept on the entry point.
"""

from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import structlog
import torch

from gateway.engine.adapters.adapters import Adapters, RowsUnknownError
from gateway.engine.device.pacing import Pacing
from gateway.engine.forwards.buckets import INVARIANT_CALLS, bucket, padded, sizes_of
from gateway.engine.forwards.buffers import Buffers
from gateway.engine.forwards.lanes import Lanes
from gateway.engine.forwards.portions import Portions
from gateway.engine.forwards.remembered import Remembered
from gateway.engine.pipelines.merge import (
    batch_of,
    content_key,
    form_of,
    is_alike,
    is_even,
    merge,
    shape_of,
    split,
)
from gateway.engine.pipelines.parking import Entry, ParkedCall
from gateway.engine.pipelines.tiling import tiled
from gateway.engine.sample import Sample, is_out_of_memory
from gateway.telemetry import metrics

REMEMBERED_BYTES = 32 * 2**20
"""Text-encoder results kept per entry point, so that one prompt is encoded once."""
NUM_REMEMBERED = 128
"""Of them, however small: each stays for long among large tensors that come and go."""
NUM_SHAPES = 256
"""Shapes of an entry point's calls whose best portions are remembered."""
NUM_TRUSTED = 4096
"""Group keys whose forms need not be looked up again."""
NUM_FORWARDS_TO_REGROW = 64
"""Full forwards after which a limit set by running out of memory is tried at twice the size."""

Shape = tuple[int, ...]

log = structlog.get_logger()


class Forwards:
    """Runs the forwards of one device; `adapters_of` an endpoint are put in place for each."""

    def __init__(
        self, adapters_of: Callable[[str], Adapters], pacing: Pacing, lanes: Lanes
    ) -> None:
        self._adapters_of = adapters_of
        self._pacing = pacing
        self._lanes = lanes
        self._buffers = Buffers()
        self._learned: dict[Entry, Learned] = {}
        self._spent: dict[tuple[str, int], dict[tuple[Entry, Shape], float]] = {}
        self.batch_sizes: deque[int] = deque(maxlen=64)

    def answer(self, samples: Iterable[Sample]) -> Iterator[list[Sample]]:
        """Give every sample's parked call its result, or its fault: those who have theirs."""
        for group in self._groups(samples):
            yield from self._answer(group)

    def forget(self, entries: Iterable[Entry]) -> None:
        """Drop what was learned of entry points that are gone."""
        for entry in entries:
            self._learned.pop(entry, None)
            if not entry.is_parked:
                self._lanes.forget([entry])
        self._spent.clear()

    def best_size(self, endpoint: str, pixels: int) -> int | None:
        """How many samples of a size a forward is best given, where that is known.

        Of all that their pipeline calls, what takes the device longest decides.
        """
        spent = self._spent.get((endpoint, pixels))
        if not spent:
            return None
        entry, shape = max(spent, key=spent.__getitem__)
        best, most = self._learned[entry].best(shape), entry.most_at_once(pixels)
        return best if most is None else min(best or most, most)

    def seconds_of(self, sample: Sample) -> float | None:
        """How long a forward takes that answers a sample's parked call; None where none has."""
        call = _parked(sample)
        learned = self._learned.get(call.entry)
        return learned.seconds(shape_of(call.args, call.kwargs)) if learned else None

    def _groups(self, samples: Iterable[Sample]) -> list[list[Sample]]:
        """Who shares a forward with whom; those who leave with theirs go first."""
        called: dict[Entry, list[Sample]] = {}
        for sample in samples:
            called.setdefault(_parked(sample).entry, []).append(sample)
        return [
            part
            for entry, callers in sorted(called.items(), key=lambda item: not item[0].is_last)
            for group in self._alike(entry, callers)
            for part in _chunks(group, self._most(group))
        ]

    def _alike(self, entry: Entry, callers: list[Sample]) -> Iterable[list[Sample]]:
        """Those who call an entry point by what can share a forward."""
        learned = self._learned.setdefault(entry, Learned())
        if len(callers) == 1:
            return [callers]  # and position tables that lie on a GPU are not waited for
        groups: dict[Hashable, list[Sample]] = {}
        for sample in callers:
            call = _parked(sample)
            key: Hashable = call.key
            if key in learned.unmergeable:
                key = (key, id(sample))
            if entry.is_invariant:
                key = (key, sizes_of((call.args, call.kwargs)))
            if entry.is_invariant or not learned.mixes_adapters:
                key = (key, sample.uses)
            groups.setdefault(key, []).append(sample)
        return groups.values()

    def _most(self, group: list[Sample]) -> int:
        call = _parked(group[0])
        if call.entry.is_invariant:
            return INVARIANT_CALLS
        shape = shape_of(call.args, call.kwargs)
        num_samples = min(len(group), call.entry.most_at_once(group[0].pixels) or len(group))
        return self._learned[call.entry].most(num_samples, shape)

    def _answer(self, group: list[Sample]) -> Iterator[list[Sample]]:
        fault = self._fault(group)
        if fault is None or len(group) == 1:
            if fault is not None:
                group[0].fail(fault)
            yield group
            return
        entry = _parked(group[0]).entry
        learned = self._learned[entry]
        # The traceback holds the failed forward's tensors.
        fault.__traceback__ = None
        if isinstance(fault, RowsUnknownError):
            learned.mixes_adapters = False
        elif isinstance(fault, NotAlikeError):
            log.info("calls are not merged: together they differ from alone", entry=str(entry))
        elif is_out_of_memory(fault):
            torch.cuda.empty_cache()
            learned.limit = len(group) // 2
        else:
            log.warning("forward failed, each call again alone", samples=len(group), fault=fault)
            yield self._answered_alone(group, learned)
            return
        yield from self.answer(group)

    def _answered_alone(self, group: list[Sample], learned: "Learned") -> list[Sample]:
        keys = [call.key for call in map(_parked, group)]
        for sample in group:
            if (fault := self._fault([sample])) is not None:
                sample.fail(fault)
        if not any(sample.has_fault for sample in group):
            learned.unmergeable.update(keys)
        return group

    def _fault(self, group: list[Sample]) -> Exception | None:
        try:
            for sample, result in zip(group, self._results(group), strict=True):
                sample.answer(result)
        except Exception as error:
            return error
        return None

    def _results(self, group: list[Sample]) -> list[Any]:
        """The group's results; identical calls on integers (text encoders) are computed once."""
        calls = [_parked(sample) for sample in group]
        contents = [content_key(call.args, call.kwargs) for call in calls]
        if None in contents:
            return self._forward(group)
        remembered = self._learned[calls[0].entry].remembered
        keys = [(sample.uses, key) for sample, key in zip(group, contents, strict=True)]
        missing = {
            key: sample for key, sample in zip(keys, group, strict=True) if key not in remembered
        }
        found: dict[Hashable, Any] = {
            id(call): remembered.get(key, call.again)
            for key, call in zip(keys, calls, strict=True)
            if key not in missing
        }
        if missing:
            results = dict(zip(missing, self._forward(list(missing.values())), strict=True))
            asked = Counter(keys)
            for key, call in zip(keys, calls, strict=True):
                if key in results:
                    found[id(call)] = (
                        remembered.watched(results[key])
                        if asked[key] == 1
                        else remembered.copied(results[key], call.again)
                    )
            for key, result in results.items():
                remembered.put(key, result)
        return [found[id(call)] for call in calls]

    def _forward(self, group: Sequence[Sample]) -> list[Any]:
        """The group's results; of each form of calls, the first that are merged are proved.

        Raises:
            NotAlikeError: a call of this form is answered otherwise together than alone.
        """
        call = _parked(group[0])
        shape = shape_of(call.args, call.kwargs)
        note = partial(self._note, call.entry, shape, group[0], len(group))
        with self._pacing.timed(note):
            results = self._merged(group)
        if len(group) > 1:
            self._prove(group, results[-1])
        return results

    def _prove(self, group: Sequence[Sample], last_result: Any) -> None:
        """Compare the last call's result with one of its own, once for each form of calls.

        Raises:
            NotAlikeError: they differ, or did when this form was proved.
        """
        calls = [(call.args, call.kwargs) for call in map(_parked, group)]
        learned = self._learned[_parked(group[-1]).entry]
        key, even = _parked(group[-1]).key, is_even(calls)
        if (key, even) in learned.trusted:
            return
        form = (form_of(key), even)
        if form not in learned.proved:
            alone = self._merged(group[-1:])[0]
            learned.proved[form] = is_alike(last_result, alone)
        if not learned.proved[form]:
            learned.unmergeable.add(key)
            raise NotAlikeError
        learned.trust(key, even)

    def _merged(self, group: Sequence[Sample]) -> list[Any]:
        entry = _parked(group[0]).entry
        size = self._size(entry, len(group))
        calls = padded([(call.args, call.kwargs) for call in map(_parked, group)], size)
        uses = [sample.uses for sample in group] + [group[-1].uses] * (size - len(group))
        batches = [batch_of(args, kwargs) for args, kwargs in calls]
        args, kwargs = merge(calls, self._buffers.cat)
        adapters = self._adapters_of(group[0].endpoint)
        adapters.use(
            [own for own, batch in zip(uses, batches, strict=True) for _ in range(batch.rows)]
        )
        try:
            with tiled(entry, group[0].pixels):
                result = self._lanes.run(entry, adapters, args, kwargs)
        finally:
            adapters.use(())
        return split(result, batches)[: len(group)]

    def _size(self, entry: Entry, num_calls: int) -> int:
        """How many calls a forward is given, the last one repeated."""
        if entry.is_invariant:
            return INVARIANT_CALLS
        return bucket(num_calls) if self._lanes.pads(entry) else num_calls

    def _note(
        self, entry: Entry, shape: Shape, sample: Sample, num_samples: int, seconds: float
    ) -> None:
        endpoint = sample.endpoint
        if (learned := self._learned.get(entry)) is not None:
            learned.note(num_samples, seconds, shape)
            self._note_spent(endpoint, sample.pixels, (entry, shape), seconds)
        metrics.BATCH_SIZE.labels(endpoint, entry.component).observe(num_samples)
        if entry.component in ("unet", "transformer"):
            metrics.STEP_SECONDS.labels(endpoint).observe(seconds)
            self.batch_sizes.append(num_samples)

    def _note_spent(
        self, endpoint: str, pixels: int, on: tuple[Entry, Shape], seconds: float
    ) -> None:
        """Account device time by what is called for samples of a size."""
        if len(self._spent) >= NUM_SHAPES:
            self._spent.clear()
        spent = self._spent.setdefault((endpoint, pixels), {})
        if len(spent) >= NUM_SHAPES:
            spent.clear()
        spent[on] = spent.get(on, 0.0) + seconds


class NotAlikeError(Exception):
    """A merged forward answered a call otherwise than a forward of its own does."""


class Learned:
    """What running an entry point has shown."""

    def __init__(self) -> None:
        self.limit: int | None = None
        self.mixes_adapters = True
        self.unmergeable: set[Hashable] = set()
        self.remembered = Remembered(REMEMBERED_BYTES, NUM_REMEMBERED)
        self.proved: dict[Hashable, bool] = {}
        self.trusted: set[tuple[Hashable, bool]] = set()
        self._num_full = 0
        self._portions: dict[Shape, Portions] = {}

    def most(self, num_samples: int, shape: Shape) -> int:
        """The most samples of a group of this shape that one forward should have."""
        portions = self._portions.get(shape)
        best = portions.of(num_samples) if portions else num_samples
        return best if self.limit is None else min(best, self.limit)

    def best(self, shape: Shape) -> int | None:
        """The best size of a forward of this shape, where it has been learned."""
        portions = self._portions.get(shape)
        return portions.best if portions else None

    def seconds(self, shape: Shape) -> float | None:
        """How long forwards of this shape took of late, of whatever size."""
        portions = self._portions.get(shape)
        return portions.forward_seconds if portions else None

    def trust(self, key: Hashable, even: bool) -> None:
        """Calls of a group key are of a form that is proved; how even they are is part of it."""
        if len(self.trusted) >= NUM_TRUSTED:
            self.trusted.clear()
        self.trusted.add((key, even))

    def note(self, num_samples: int, seconds: float, shape: Shape) -> None:
        """A forward of so many samples of this shape fitted, and took so long."""
        if shape not in self._portions and len(self._portions) >= NUM_SHAPES:
            self._portions.clear()
        self._portions.setdefault(shape, Portions()).note(num_samples, seconds)
        if self.limit is None or num_samples < self.limit:
            return
        self._num_full += 1
        if self._num_full >= NUM_FORWARDS_TO_REGROW:
            self._num_full, self.limit = 0, self.limit * 2


def _parked(sample: Sample) -> ParkedCall:
    assert sample.parked is not None
    return sample.parked


def _chunks(group: list[Sample], size: int) -> list[list[Sample]]:
    return [group[start : start + size] for start in range(0, len(group), size)]
