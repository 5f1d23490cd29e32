"""This process's connection to Ray, and a Ray of its own where there is no other to join.

What is here beside Ray's documented calls is why the version is pinned: a Ray of one machine has
to listen on loopback alone, and needs no dashboard, no autoscaler and no reader of logs.
"""

import asyncio
import logging
import os
import secrets
import shutil
import signal
import socket
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog

LOOPBACK = "127.0.0.1"
FOLDER = "gateway-ray-"
STORE_BYTES = 512 * 2**20
"""For pictures on their way; where there are more at once, they go by way of the disk."""

TOKEN = secrets.token_hex(32)
"""Ray reads it once in the life of a process, so that all of its own have this one."""

CLOSE_SECONDS = 10.0
LOOK_SECONDS = 1.0
KNOCK_SECONDS = 2.0
MOST_UNHEARD = 10
"""So many knocks in a row at a cluster's head, and it is lost: Ray ends who has waited a minute."""

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",  # another user of this machine could run what he likes else
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # replicas choose their device themselves
    "RAY_worker_niceness": "0",  # else 15: whatever runs beside a replica would come before it
}

log = structlog.get_logger()


class Session:
    """Ray as long as it is open; `address` is that of a cluster to join.

    One of its own begins `num_workers` processes, to become replicas.

    It lives in a thread of its own: the kernel ends Ray's processes with the thread that began
    them, whatever ends that.
    """

    def __init__(self, address: str | None, num_workers: int) -> None:
        self._address = address
        self._num_workers = num_workers
        self._is_over = threading.Event()
        self._thread: threading.Thread | None = None
        self._own: Any = None
        self._joined: Any = None
        self._num_unheard = 0
        self.num_gpus = 0

    async def open(self) -> None:
        """Join the cluster, or begin one; again, once it was closed.

        Raises:
            OSError: there is no such cluster, as a ConnectionError or before.
        """
        if self._thread is not None and self._thread.is_alive():
            raise ConnectionError("the Ray before has not ended yet")
        loop = asyncio.get_running_loop()
        is_over = self._is_over = threading.Event()
        opened: asyncio.Future[None] = loop.create_future()

        def tell(error: Exception | None) -> None:
            if opened.cancelled():
                return
            if error is None:
                opened.set_result(None)
            else:
                opened.set_exception(error)

        def run() -> None:
            try:
                self._connect()
            except Exception as error:
                loop.call_soon_threadsafe(tell, error)
                return
            loop.call_soon_threadsafe(tell, None)
            while not is_over.wait(LOOK_SECONDS):
                self._knock()
            own, self._own, self._joined = self._own, None, None
            _disconnect(own)

        self._thread = threading.Thread(target=run, name="ray", daemon=True)
        self._thread.start()
        await opened
        _take_signals_back()

    async def close(self) -> None:
        """Leave it, and end the Ray that was begun."""
        self._is_over.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, CLOSE_SECONDS)

    def fault(self) -> str | None:
        """What of Ray is gone, if it is: looked at on this machine alone, which takes no time."""
        own, joined = self._own, self._joined  # the thread lets go of them as it ends
        if own is not None:
            return next((f"Ray's {name} has ended" for name, _ in own.dead_processes()), None)
        if joined is None:
            return None
        if not _is_listening(joined.raylet_socket_name):
            return "Ray has ended on this machine"
        if self._num_unheard >= MOST_UNHEARD:
            return "the cluster's head does not answer"
        return None

    def _knock(self) -> None:
        """Hear whether a cluster's head is there; Ray of one's own is looked at instead."""
        if self._joined is not None:
            try:
                _knock_at(self._joined.gcs_address)
            except OSError:
                self._num_unheard += 1
            else:
                self._num_unheard = 0

    def _connect(self) -> None:
        if self._address:  # Ray itself would try for minutes
            _knock_at(self._address)
        for name in ("ray", "ray._private"):
            logging.getLogger(name).setLevel(logging.ERROR)
        if self._address is None:
            os.environ.update(ENVIRONMENT)
            os.environ["RAY_AUTH_TOKEN"] = TOKEN
        import ray  # noqa: PLC0415  once its environment is set
        from ray._private import worker  # noqa: PLC0415
        from ray._private.authentication import authentication_token_setup  # noqa: PLC0415

        worker.print_to_stdstream = _log_instead
        if self._address is None:
            authentication_token_setup._enable_token_auth()  # wherever it has been imported before
            own = worker._global_node = _own_node(self._num_workers)
        else:
            own = None
        try:
            ray.init(
                address=own.gcs_address if own else self._address,
                log_to_driver=False,
                configure_logging=False,
            )
            there: Any = ray.cluster_resources
            self.num_gpus = int(there().get("GPU", 0))
        except Exception:
            _disconnect(own)
            raise
        self._own, self._joined = own, None if own else worker._global_node
        self._num_unheard = 0


def _knock_at(address: str) -> None:
    """See that somebody listens there, where the address tells a port."""
    host, _, port = address.rpartition(":")
    if port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), KNOCK_SECONDS).close()


def _is_listening(path: str) -> bool:
    """Whether a process of this machine listens at a socket of its file system."""
    with socket.socket(socket.AF_UNIX) as near:
        near.setblocking(False)
        try:
            near.connect(path)
        except BlockingIOError:
            return True  # it is slow to take who comes, but there
        except OSError:
            return False
    return True


def _own_node(num_workers: int) -> Any:
    """A Ray for this machine alone: no one else reaches it, and it ends with the thread."""
    from ray._private.node import Node  # noqa: PLC0415
    from ray._private.parameter import RayParams  # noqa: PLC0415

    class QuietNode(Node):
        def start_api_server(self, **_: Any) -> None:
            self._webui_url = None

    _sweep()
    parameters: Any = RayParams
    own = parameters(
        node_ip_address=LOOPBACK,
        dashboard_host=LOOPBACK,
        include_dashboard=False,
        include_log_monitor=False,
        no_monitor=True,
        num_cpus=num_workers,
        num_gpus=0,
        object_store_memory=STORE_BYTES,
        min_worker_port=0,
        max_worker_port=0,
        temp_dir=tempfile.mkdtemp(prefix=f"{FOLDER}{os.getpid()}-"),
    )
    return QuietNode(own, head=True, shutdown_at_exit=False, spawn_reaper=True)


def _take_signals_back() -> None:
    """Have Python's handlers of signals called again, which Ray has put its own in front of."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.getsignal(number))


def _disconnect(node: Any) -> None:
    import ray  # noqa: PLC0415

    ray.shutdown()
    if node is not None:
        node.kill_all_processes(check_alive=False, allow_graceful=True)
        shutil.rmtree(node.temp_dir, ignore_errors=True)


def _sweep() -> None:
    """Remove what gateways left that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER}*"):
        process = folder.name.removeprefix(FOLDER).partition("-")[0]
        with suppress(OSError):
            if process.isdigit() and not Path(f"/proc/{process}").exists():
                shutil.rmtree(folder, ignore_errors=True)


def _log_instead(data: dict[str, Any], ignore_prefix: bool) -> None:
    """What Ray would print on standard output."""
    for line in data.get("lines", ()):
        log.info("ray", said=str(line).partition("\n")[0][:500])
