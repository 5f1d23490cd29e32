"""Which files of tests a process is given, so that two cores are both at work.

Half of the tests wait for servers, browsers and clocks, and leave their core idle; the others
compute. Files lie in a line with those that wait at its front: every other process takes the
next from there, the rest from the back.
"""

from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

WAITING = ("resilience", "runs", "clients", "cluster", "deploy", "fronts", "cli", "web")
COMPUTING = ("images", "catalog", "models", "engine")


def place(nodeid: str) -> int:
    """Where a test lies in the line; the last that is left should be short."""
    room = nodeid.split("/")[1]
    if room in WAITING:
        return WAITING.index(room)
    return len(WAITING) + (COMPUTING.index(room) + 1 if room in COMPUTING else 0)


class FromBothEnds(LoadFileScheduling):  # type: ignore[misc]
    """Files go to every other process from the front, and to the rest from the back."""

    def _assign_work_unit(self, node: WorkerController) -> None:
        if self.nodes.index(node) % 2:
            self.workqueue.move_to_end(next(reversed(self.workqueue)), last=False)
        super()._assign_work_unit(node)
