"""What a client is told over its websocket: its own prompts as they are drawn, and the queue."""

import asyncio
import struct
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from typing import Any

from gateway.runs.live import Notice
from gateway.runs.records import RunOutput
from gateway.runs.runs import Runs
from gateway.runs.story import story
from gateway.web.comfyui.telling import ending, pictures, queue_status

Send = Callable[[str, dict[str, Any]], Awaitable[None]]
"""Sends a message of a type with its data."""

LOOK_SECONDS = 1.0
"""How often the database is looked into for prompts that other processes accepted."""

SILENT_SECONDS = 5.0
"""After which the queue is told again: clients take a socket that is silent for dead."""

PREVIEW, JPEG = 1, 1
_HEAD = struct.Struct(">II")


class Feed:
    """Tells one client of the prompts that it queued. Belongs to the event loop."""

    def __init__(
        self,
        runs: Runs,
        owner: str,
        client_id: str,
        send: Send,
        show: Callable[[bytes], Awaitable[None]],
    ) -> None:
        self.runs = runs
        self.owner = owner
        self.client_id = client_id
        self._send, self._show = send, show
        self._known: set[str] = set()
        self._followed: set[str] = set()
        self._told_at = 0.0
        self._num_told = -1

    async def tell(self) -> None:
        """Tell until cancelled, beginning with the queue as it stands."""
        with self.runs.performer.live.coming(self.owner) as coming:
            async with asyncio.TaskGroup() as group:
                while True:
                    open_ids = await self._open_ids()
                    await self._tell_queue(len(open_ids))
                    for run_id in [*open_ids, *_taken(coming)]:
                        if run_id not in self._known:
                            self._known.add(run_id)
                            self._followed.add(run_id)
                            group.create_task(self._follow(run_id))
                    self._known &= self._followed.union(open_ids)
                    await _waited(coming, LOOK_SECONDS)

    async def _follow(self, run_id: str) -> None:
        """Tell of a prompt to its end, if it is this client's."""
        try:
            run = await self.runs.ground.patiently(self.runs.store.get, run_id, self.owner)
            if run is None or run.order.client_id != self.client_id:
                return
            async with aclosing(story(self.runs, run_id, self.owner)) as notices:
                async for notice in notices:
                    if notice is not None:
                        await self._pass_on(run_id, notice)
        finally:
            self._followed.discard(run_id)
        await self._tell_queue(len(await self._open_ids()))

    async def _pass_on(self, run_id: str, notice: Notice) -> None:
        """Tell what happened, as ComfyUI does."""
        prompt = {"prompt_id": run_id}
        match notice.event:
            case "execution_start":
                await self._send("execution_start", prompt | _now())
                await self._send("execution_cached", {"nodes": []} | prompt | _now())
            case "executing":
                await self._executing(run_id, notice.data)
            case "progress":
                await self._send("progress", notice.data | prompt)
            case "preview":
                await self._show(_HEAD.pack(PREVIEW, JPEG) + notice.data)
            case "executed":
                await self._executed(run_id, notice.data)
            case "ended":
                await self._send(*ending(notice.data))
                await self._executing(run_id, None)

    async def _executed(self, run_id: str, output: RunOutput) -> None:
        await self._executing(run_id, output.node_id)
        made = {"node": output.node_id, "display_node": output.node_id, "output": pictures(output)}
        await self._send("executed", made | {"prompt_id": run_id})

    async def _executing(self, run_id: str, node_id: str | None) -> None:
        told = {"node": node_id, "display_node": node_id, "prompt_id": run_id}
        await self._send("executing", told)

    async def _tell_queue(self, num_open: int) -> None:
        """Tell how many prompts are left, where that has changed or was told long ago."""
        now = asyncio.get_running_loop().time()
        if num_open != self._num_told or now - self._told_at >= SILENT_SECONDS:
            is_first, self._num_told, self._told_at = self._num_told < 0, num_open, now
            session = {"sid": self.client_id} if is_first else {}
            await self._send("status", {"status": queue_status(num_open)} | session)

    async def _open_ids(self) -> list[str]:
        return await self.runs.ground.patiently(self.runs.history.open_ids, self.owner)


def _taken(coming: "asyncio.Queue[str]") -> list[str]:
    """Everything that has come by now."""
    return [coming.get_nowait() for _ in range(coming.qsize())]


async def _waited(coming: "asyncio.Queue[str]", seconds: float) -> None:
    """Wait until there is something, or so long; it stays where it is."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            coming.put_nowait(await coming.get())


def _now() -> dict[str, int]:
    return {"timestamp": int(time.time() * 1000)}
