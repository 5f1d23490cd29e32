"""How far a job is, put together from what its run has told since it was begun."""

from typing import Any

from gateway.runs.graph.order import run_order
from gateway.runs.live import Live, Notice
from gateway.runs.records import Run, RunOutput


class Story:
    """What has happened to a run that this process draws."""

    def __init__(self, run: Run, live: Live) -> None:
        self.run = run
        self.outputs: list[RunOutput] = []
        self._live = live
        self._graph = run.order.graph or {}
        self._done: set[str] = set()
        self.node: str | None = None
        self._step: int | None = None
        self._steps: int | None = None

    @classmethod
    def so_far(cls, run: Run, live: Live) -> "Story":
        """All of it until now."""
        story = cls(run, live)
        for notice in live.past(run.id):
            story.add(notice)
        return story

    def add(self, notice: Notice) -> None:
        """Take one thing more that happened."""
        match notice.event:
            case "executing" if notice.data is not None:
                self.node, self._step, self._steps = str(notice.data), None, None
                self._done |= self._before(self.node)
            case "progress":
                self._step, self._steps = notice.data["value"], notice.data["max"]
                if self._step == self._steps:
                    self._done.add(str(notice.data["node"]))
            case "executed":
                self.outputs.append(notice.data)
                self._done |= self._before(notice.data.node_id) | {notice.data.node_id}

    def _before(self, node: str) -> set[str]:
        """The nodes that one hangs on, which are done when it begins."""
        known = node in self._graph
        return {*run_order(self._graph, [node])} - {node} if known else set()

    def progress(self) -> dict[str, Any]:
        """The same as clients read it, complete in itself."""
        total = max(1, len(self._graph))
        if self.run.status == "success":
            return _snapshot(1.0, total, total)
        now = self._live.progress.get(self.run.id)
        value = now.progress if now else self.run.progress
        told = _snapshot(round(value, 4), min(len(self._done), total), total)
        if self.node is not None:
            kind = self._graph.get(self.node, {}).get("class_type", self.node)
            steps = "" if self._steps is None else f" {self._step}/{self._steps}"
            told |= {
                "current_node": self.node,
                "current_node_class": kind,
                "step": self._step,
                "steps": self._steps,
                "message": f"{kind}{steps}",
            }
        return told


def _snapshot(value: float, nodes_done: int, nodes_total: int) -> dict[str, Any]:
    return {
        "value": value,
        "nodes_done": nodes_done,
        "nodes_total": nodes_total,
        "current_node": None,
        "current_node_class": None,
        "step": None,
        "steps": None,
        "message": None,
    }
