"""Slow and silent clients by the thousand, and an honest one among them."""

import asyncio
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx

from tests.facts import num_descriptors, resident_mib
from tests.resilience.bystander import PICTURE, bystanding
from tests.resilience.house import tormented
from tests.resilience.ledger import Owner
from tests.resilience.row import Row
from tests.runs.server import Process

HELD_MIB = 8
"""Of the file that silent readers ask for and do not take."""

GROWTH_MIB = 256
LONGEST_SECONDS = 10.0
DRIP_SECONDS = 1.0
MARGIN_SECONDS = 15.0
SPARE_DESCRIPTORS = 32
"""That a process may have opened meanwhile for itself: the database, the store."""

KINDS = ("half a head", "a dripping head", "half a body", "a dripping body", "a silent reader")


async def crowd(
    folder: Path, num_connections: int, head_seconds: float = 20, stall_seconds: float = 30
) -> Row:
    """So many connections of five bad kinds, until the gateway has ended every one of them."""
    environment = {
        "GATEWAY_HEAD_SECONDS": str(head_seconds),
        "GATEWAY_STALL_SECONDS": str(stall_seconds),
    }
    process = Process(folder / "data", environment=environment)
    async with tormented(folder, processes=[process]) as house:
        await asyncio.to_thread(process.begin)
        owner = house.load.owners[0]
        path = await _large_file(process.url, owner)
        opened, mib = num_descriptors(process.pid), resident_mib(process.pid)
        began = time.monotonic()
        async with bystanding(process.url, owner.secret, "tiny") as sights:
            async with _crowded(process.port, path, num_connections) as counts:
                patience = head_seconds + stall_seconds + MARGIN_SECONDS
                grown, left = await _watched(process, opened, patience)
            seconds = time.monotonic() - began
        slowest = sights.seconds(PICTURE)
        faults = [*sights.faults, *await house.faults()]
    if left > SPARE_DESCRIPTORS:
        faults.append(f"{left} connections were still held after {seconds:.0f} s")
    if grown - mib > GROWTH_MIB:
        faults.append(f"memory grew by {grown - mib:.0f} MiB")
    if slowest > LONGEST_SECONDS or not sights.count(PICTURE):
        faults.append(f"the honest client waited {slowest:.1f} s")
    return Row(
        ", ".join(f"{count} × {kind}" for kind, count in counts.items()),
        f"an honest client is answered within {LONGEST_SECONDS:g} s; bad ones are put out after "
        f"{head_seconds:g} s without a head or {stall_seconds:g} s without progress; memory stays",
        f"{sights.count(PICTURE)} pictures meanwhile, the slowest in {slowest:.2f} s; all were put "
        f"out after {seconds:.0f} s; memory {mib:.0f} MiB, at most {grown:.0f} MiB",
        tuple(faults),
    )


async def _watched(process: Process, opened: int, seconds: float) -> tuple[float, int]:
    """The most memory while the crowd is put out, and how many of it are left at the end."""
    deadline, most, left = time.monotonic() + seconds, 0.0, SPARE_DESCRIPTORS + 1
    while left > SPARE_DESCRIPTORS and time.monotonic() < deadline:
        await asyncio.sleep(0.25)
        most = max(most, resident_mib(process.pid))
        left = num_descriptors(process.pid) - opened
    return most, left


async def _large_file(url: str, owner: Owner) -> str:
    """The path of a file too large for the sockets' buffers."""
    data = bytes(HELD_MIB << 20)
    async with httpx.AsyncClient() as client:
        answer = await client.post(
            f"{url}/api/file/upload", headers=owner.headers, files={"file": ("large.bin", data)}
        )
    return str(answer.raise_for_status().json()["file_url"]).removeprefix(url)


@asynccontextmanager
async def _crowded(port: int, path: str, num_connections: int) -> AsyncIterator[Counter[str]]:
    """Bad clients for as long as the block lasts, and how many of each kind."""
    counts = Counter(dict.fromkeys(KINDS, 0))
    clients = []
    for number in range(num_connections):
        kind = KINDS[number % len(KINDS)]
        counts[kind] += 1
        clients.append(asyncio.create_task(_misbehave(port, path, kind)))
        if number % 50 == 49:
            await asyncio.sleep(0.05)
    try:
        yield counts
    finally:
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)


async def _misbehave(port: int, path: str, kind: str) -> None:
    loop = asyncio.get_running_loop()
    with socket.socket() as one, suppress(OSError):
        one.setblocking(False)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await loop.sock_connect(one, ("127.0.0.1", port))
        await loop.sock_sendall(one, _opening(kind, path))
        while kind.startswith("a dripping"):
            await asyncio.sleep(DRIP_SECONDS)
            await loop.sock_sendall(one, b"x")
        await asyncio.Event().wait()


def _opening(kind: str, path: str) -> bytes:
    """What a bad client sends before it begins to be bad."""
    if kind == "a silent reader":
        return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    head = b"POST /v1/images/generations HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    if kind.endswith("head"):
        return head + b"X-Long: "
    return head + b"Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n" + b'{"prompt'
