"""No descriptors: a process that may open few, and strangers who take them all."""

import asyncio
import socket
from contextlib import ExitStack
from pathlib import Path

import httpx

from tests.facts import num_descriptors
from tests.resilience.house import House, tormented
from tests.resilience.row import Row
from tests.runs.server import Process

RECOVERY_SECONDS = 30.0


async def descriptors(folder: Path, limit: int, num_connections: int, seconds: float) -> Row:
    """Open more half requests than a process has descriptors, and hold them under load."""
    process = Process(
        folder / "data",
        wrapper=["prlimit", f"--nofile={limit}:{limit}"],
        # Half requests are not to be ended by time alone, within this scenario.
        environment={"GATEWAY_HEAD_SECONDS": "600", "GATEWAY_STALL_SECONDS": "600"},
    )
    async with tormented(folder, processes=[process]) as house:
        await asyncio.to_thread(process.begin)
        async with house.load.running() as ledger:
            # The first requests of all: whatever opens late has to open now.
            with ExitStack() as held:
                for _ in range(num_connections):
                    held.enter_context(_half_request(process.port))
                    await asyncio.sleep(0)
                await asyncio.sleep(seconds)
                most, answered = num_descriptors(process.pid), sum(ledger.answered.values())
            healthy = await _recovers(house)
            await asyncio.sleep(seconds / 2)
        faults = await house.faults()
        after = sum(ledger.answered.values()) - answered
    if not healthy:
        faults.append(f"not well {RECOVERY_SECONDS:g} s after the descriptors came back")
    if not after:
        faults.append("nobody was answered after the descriptors came back")
    return Row(
        f"{num_connections} half requests held for {seconds:g} s at a process of {limit} "
        f"descriptors under load",
        "nothing that was accepted is lost or hangs; well and answering once they have left",
        f"{most} descriptors in use; {answered} requests answered meanwhile, {after} afterwards, "
        f"{ledger.num_refused} told to come later, {ledger.num_broken_off} broken off",
        tuple(faults),
    )


async def _recovers(house: House) -> bool:
    """Whether the process says in time that all is well."""
    async with httpx.AsyncClient(base_url=house.processes[0].url, timeout=10) as client:
        for _ in range(int(RECOVERY_SECONDS)):
            try:
                if (await client.get("/health")).json()["status"] == "ok":
                    return True
            except httpx.TransportError:
                pass
            await asyncio.sleep(1)
    return False


def _half_request(port: int) -> socket.socket:
    one = socket.create_connection(("127.0.0.1", port), timeout=5)
    one.sendall(b"POST /v1/images/generations HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Long: ")
    return one
