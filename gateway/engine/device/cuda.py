"""A CUDA device's two lines: their events, and the threads that wait for them."""

import queue
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import structlog
import torch
from torch import Tensor

from gateway.engine.device.pacing import Command, HostTimeline, Timeline

log = structlog.get_logger()


class CudaMark:
    """An event recorded on the current stream of a device."""

    def __init__(self, device: torch.device) -> None:
        # Whoever waits for it sleeps, and spins no core that the engine's thread wants.
        self.event = torch.cuda.Event(enable_timing=True, blocking=True)  # type: ignore[no-untyped-call]
        self.event.record(torch.cuda.current_stream(device))

    def seconds_since(self, earlier: "CudaMark") -> float:
        """What the device's clock says; nothing where the device has failed."""
        try:
            return float(earlier.event.elapsed_time(self.event)) / 1000
        except RuntimeError:
            return 0.0


class CudaTimeline:
    """Its stream's order; a thread of its own waits, so that the engine's never does."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._due: queue.SimpleQueue[tuple[CudaMark | None, Command]] = queue.SimpleQueue()
        threading.Thread(target=self._run, name=f"follow-{device}", daemon=True).start()

    @property
    def second(self) -> "CudaSecondLine":
        """Another stream."""
        return CudaSecondLine(self._device, self)

    def mark(self) -> CudaMark:
        """The moment at which the current stream has done what it was given."""
        return CudaMark(self._device)

    def follow(self, then: Command) -> None:
        """Call `then` at that moment, in the thread that waits."""
        self._due.put((self.mark(), then))

    def follow_after(self, other: "CudaTimeline") -> None:
        """Tell what follows from now on after what follows another so far."""
        told = threading.Event()

        def wait() -> None:
            told.wait()

        other._due.put((None, told.set))
        self._due.put((None, wait))

    def _run(self) -> None:
        while True:
            mark, then = self._due.get()
            try:
                if mark is not None:
                    mark.event.synchronize()
            except RuntimeError as error:  # a kernel's, which all later calls will meet too
                log.error("the device failed", exc_info=error)
            then()


class CudaSecondLine:
    """A stream beside that on which the engine's thread issues all else.

    What it allocates is used again by itself alone, and each time only after all that the first
    stream had been given: so what the first one reads of it stays as it is.
    """

    def __init__(self, device: torch.device, first: CudaTimeline) -> None:
        self._device = device
        self._first = first
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self.timeline = CudaTimeline(device)

    @contextmanager
    def given(self, tensors: Iterable[Tensor]) -> Iterator[None]:
        """Make this the current stream."""
        first = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(first)
        self.timeline.follow_after(self._first)
        for tensor in tensors:
            if tensor.is_cuda:
                tensor.record_stream(self._stream)
        with torch.cuda.stream(self._stream):
            yield

    def join(self) -> None:
        """Have the current stream wait for this one."""
        torch.cuda.current_stream(self._device).wait_stream(self._stream)
        self._first.follow_after(self.timeline)


def timeline_of(device: torch.device) -> Timeline:
    """The timeline of a device."""
    return CudaTimeline(device) if device.type == "cuda" else HostTimeline()
