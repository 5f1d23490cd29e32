"""Replicas ended and begun anew by request, for operators."""

import asyncio
from typing import Any

import msgspec
from litestar import Request, post
from litestar.params import FromPath

from gateway.accounts.limits import Caller
from gateway.engine.protocol import ReplicaStatus, Replicated
from gateway.errors import Forbidden, NotOffered
from gateway.web.door.answers.schema import refusals
from gateway.web.door.desk import Desk

OPERATION: dict[str, Any] = {
    "status_code": 200,
    "responses": refusals(403, 404),
    "tags": ["replicas"],
}


class Replicas(msgspec.Struct, frozen=True):
    """How every replica stands, once what was asked for is done."""

    replicas: tuple[ReplicaStatus, ...]


def routes(desk: Desk) -> list[Any]:
    """The route handlers."""
    engine = desk.studio.engine

    def now() -> Replicas:
        return Replicas(engine.status().replicas)

    @post("/v1/replicas/{name:str}/drain", **OPERATION)
    async def drain(request: Request[Any, Any, Any], name: FromPath[str]) -> Replicas:
        """Let a replica finish, or move, what it draws, and end it until it is restarted."""
        replicated = await _replicated(desk, request)
        await asyncio.shield(replicated.drain(name))
        return now()

    @post("/v1/replicas/{name:str}/restart", **OPERATION)
    async def restart(request: Request[Any, Any, Any], name: FromPath[str]) -> Replicas:
        """Begin a replica anew."""
        replicated = await _replicated(desk, request)
        await asyncio.shield(replicated.restart(name))
        return now()

    @post("/v1/replicas/restart", **OPERATION)
    async def restart_all(request: Request[Any, Any, Any]) -> Replicas:
        """Begin all replicas anew, each when the one before is ready again."""
        replicated = await _replicated(desk, request)
        await asyncio.shield(replicated.restart())
        return now()

    return [drain, restart, restart_all]


async def _replicated(desk: Desk, request: Request[Any, Any, Any]) -> Replicated:
    _check_operator(await desk.admit(request))
    engine = desk.studio.engine
    if not isinstance(engine, Replicated):
        raise NotOffered("This gateway draws on one device: it has no replicas.")
    return engine


def _check_operator(caller: Caller) -> None:
    if not caller.is_operator:
        raise Forbidden(
            "Replicas are drained and restarted with an operator's key "
            "(gateway keys create NAME --operator)."
        )
