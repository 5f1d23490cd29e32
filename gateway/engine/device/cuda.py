"""A CUDA device's timeline: its events, and the thread that waits for them."""

import queue
import threading

import structlog
import torch

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
        self._due: queue.SimpleQueue[tuple[CudaMark, Command]] = queue.SimpleQueue()
        threading.Thread(target=self._run, name=f"follow-{device}", daemon=True).start()

    def mark(self) -> CudaMark:
        """The moment at which the current stream has done what it was given."""
        return CudaMark(self._device)

    def follow(self, then: Command) -> None:
        """Call `then` at that moment, in the thread that waits."""
        self._due.put((self.mark(), then))

    def _run(self) -> None:
        while True:
            mark, then = self._due.get()
            try:
                mark.event.synchronize()
            except RuntimeError as error:  # a kernel's, which all later calls will meet too
                log.error("the device failed", exc_info=error)
            then()


def timeline_of(device: torch.device) -> Timeline:
    """The timeline of a device."""
    return CudaTimeline(device) if device.type == "cuda" else HostTimeline()
