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

CLOSE_SECONDS = 10.0
KNOCK_SECONDS = 5.0

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",  # another user of this machine could run what he likes else
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # replicas choose their device themselves
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
        self.num_gpus = 0

    async def open(self) -> None:
        """Join the cluster, or begin one.

        Raises:
            OSError: there is no such cluster, as a ConnectionError or before.
        """
        loop = asyncio.get_running_loop()
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
                node = self._connect()
            except Exception as error:
                loop.call_soon_threadsafe(tell, error)
                return
            loop.call_soon_threadsafe(tell, None)
            self._is_over.wait()
            _disconnect(node)

        self._thread = threading.Thread(target=run, name="ray", daemon=True)
        self._thread.start()
        await opened
        _take_signals_back()

    async def close(self) -> None:
        """Leave it, and end the Ray that was begun."""
        self._is_over.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, CLOSE_SECONDS)

    def _connect(self) -> Any:
        host, _, port = (self._address or "").rpartition(":")
        if port.isdigit():  # Ray itself would try for minutes
            socket.create_connection((host.strip("[]"), int(port)), KNOCK_SECONDS).close()
        for name in ("ray", "ray._private"):
            logging.getLogger(name).setLevel(logging.ERROR)
        node = None
        if self._address is None:
            os.environ.update(ENVIRONMENT)
            os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
        import ray  # noqa: PLC0415  once its environment is set
        from ray._private import worker  # noqa: PLC0415
        from ray._private.authentication import authentication_token_setup  # noqa: PLC0415

        worker.print_to_stdstream = _log_instead
        if self._address is None:
            authentication_token_setup._enable_token_auth()  # wherever it has been imported before
            node = worker._global_node = _own_node(self._num_workers)
        ray.init(
            address=node.gcs_address if node else self._address,
            log_to_driver=False,
            configure_logging=False,
        )
        there: Any = ray.cluster_resources
        self.num_gpus = int(there().get("GPU", 0))
        return node


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
