"""uvicorn's server with bounds: it answers at once, and ends in good order."""

import asyncio
import gc
import math
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar, cast

import structlog
import uvicorn

from gateway.settings import Settings
from gateway.web.server.connections import Hall
from gateway.web.server.descriptors import connections_within, raise_limit
from gateway.web.server.sockets import MAX_MESSAGE_BYTES
from gateway.web.server.threshold import Threshold

if TYPE_CHECKING:
    from litestar import Litestar

    from gateway.engine.protocol import Engine

SWEEP_SECONDS = 1.0
POLL_SECONDS = 0.05
SWITCH_SECONDS = 0.001
"""After which a thread at work lets the event loop on, which waits for that in each of its turns.
By default it is 5 ms; the work takes no longer so."""

FAREWELL_SECONDS = 5.0
"""For the answers of what was drawn last: encoding, storing, and the way to the client."""

T = TypeVar("T")
Assemble = Callable[[], "tuple[Litestar, Engine]"]
"""Makes the application and its engine, which takes seconds: torch is imported."""

log = structlog.get_logger()


class Server(uvicorn.Server):
    """Serves an application, whose engine finishes what runs before the last connection closes.

    It listens before there is an application, which a thread assembles meanwhile.
    """

    def __init__(self, assemble: Assemble, settings: Settings) -> None:
        self.settings = settings
        self.engine: Engine | None = None
        self.hall = Hall(settings, connections_within(raise_limit(), settings.max_connections))
        self.threshold = Threshold(self.hall)
        self._assemble = assemble
        self._fault: Exception | None = None
        self._is_hurried = False
        self._told_to_exit, self._is_over = asyncio.Event(), asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        config = uvicorn.Config(
            cast(Any, self.threshold),
            http=cast(Any, self.hall.connection),
            ws=cast(Any, self.hall.socket),
            ws_max_size=MAX_MESSAGE_BYTES,
            ws_per_message_deflate=False,
            lifespan="off",
            log_config=None,
            server_header=False,
            timeout_keep_alive=math.ceil(settings.keep_alive_seconds),
            timeout_graceful_shutdown=math.ceil(settings.grace_seconds + 2 * FAREWELL_SECONDS),
        )
        super().__init__(config)

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and start the application beside; a signal is heeded from the beginning.

        What keeps the application from starting is raised once nobody is connected any more.
        """
        self._loop = asyncio.get_running_loop()
        sys.setswitchinterval(SWITCH_SECONDS)
        with self.capture_signals():
            application = asyncio.create_task(self._stay_open())
            sweeping = asyncio.create_task(self._sweep())
            try:
                await super().serve(sockets)
            finally:
                sweeping.cancel()
                self._is_over.set()
                if self.engine is None:
                    application.cancel()  # what assembles it ends with the process
                await asyncio.wait({application})
        if self._fault is not None:
            raise self._fault

    async def _stay_open(self) -> None:
        """Have an application from when it is assembled until nobody is connected any more."""
        try:
            app, self.engine = await _in_thread(self._assemble)
            async with app.lifespan():
                # Half a million objects of libraries that stay: to walk them all, again and again
                # in search of garbage, is a tenth of a second in which nobody is answered.
                gc.freeze()
                self.threshold.open(app)
                log.info("open", process=os.getpid())
                await self._is_over.wait()
        except Exception as error:
            self._fault = _alone(error)
            self.handle_exit(signal.SIGINT, None)

    async def main_loop(self) -> None:
        """Wait to be told to exit; uvicorn's own wakes ten times a second to see whether it was."""
        while not await self.on_tick(0):
            with suppress(TimeoutError):
                async with asyncio.timeout(SWEEP_SECONDS):
                    await self._told_to_exit.wait()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Heed a signal: not ready from this moment. Who asks at a terminal is in a hurry."""
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True
        self.threshold.leave()
        self._is_hurried = self._is_hurried or sig == signal.SIGINT
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._told_to_exit.set)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stay open while balancers look away, refuse what is new, finish what runs, close."""
        log.info("stopping", connections=len(self.hall.connections))
        drained = time.monotonic() + self.settings.drain_seconds
        while time.monotonic() < drained and self.engine and not self._is_hurried:
            await asyncio.sleep(POLL_SECONDS)
        closing = asyncio.create_task(super().shutdown(sockets))
        await self._stop_engine()
        # What is open now has its answer on the way, or waits for nothing that will come.
        await asyncio.wait({closing}, timeout=0 if self.force_exit else FAREWELL_SECONDS)
        for connection in list(self.hall.connections):
            connection.cut("stopping")
        await closing

    async def _stop_engine(self) -> None:
        if self.engine is None:
            return
        stopping = asyncio.create_task(self.engine.stop(self.settings.grace_seconds))
        while not stopping.done() and not self.force_exit:
            await asyncio.wait({stopping}, timeout=POLL_SECONDS)
        if not stopping.done():
            stopping.cancel()
            await self.engine.stop(0)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            self.hall.sweep()


def _alone(error: Exception) -> Exception:
    """What a group holds, if it is but one: Litestar groups what ends an application's start."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


async def _in_thread(work: Callable[[], T]) -> T:
    """Run what takes seconds in a thread that no end of the loop waits for."""
    loop = asyncio.get_running_loop()
    told: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        try:
            settle = partial(told.set_result, work())
        except Exception as error:
            settle = partial(told.set_exception, error)
        if not loop.is_closed():
            loop.call_soon_threadsafe(lambda: told.done() or settle())

    threading.Thread(target=run, name="assembling", daemon=True).start()
    return await told
