"""Who asks for runs, and what the routes of every dialect of them are given."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import msgspec
from litestar import HttpMethod, Request
from litestar.di import NamedDependency, Provide

from gateway.catalog.catalog import Model
from gateway.errors import Forbidden
from gateway.runs.ordering import Permit
from gateway.runs.runs import Runs
from gateway.settings import Settings
from gateway.web.door.addresses import public_base
from gateway.web.door.auth import Doorkeeper

AnyRequest = Request[Any, Any, Any]


class Asker(msgspec.Struct, frozen=True):
    """Who asks: whose runs they see, how they reach this gateway, what they may draw.

    `count` lets a number of runs count towards the key's limits.
    """

    owner: str
    base_url: str
    permit: Permit
    count: Callable[[int], Awaitable[None]]

    def may(self, model: Model) -> bool:
        """Whether this key may use a model."""
        try:
            self.permit(model)
        except Forbidden:
            return False
        return True


Asking = NamedDependency[Asker]
House = NamedDependency[Runs]
"""What route handlers are given: who asks, and the runs."""


Ask = Callable[[AnyRequest], Awaitable[Asker]]


def asker_of(door: Doorkeeper, settings: Settings) -> Ask:
    """Who asks, by the gateway's own keys; polling does not count towards a key's minute."""

    async def ask(request: AnyRequest) -> Asker:
        polls = request.method == HttpMethod.GET
        caller = door.identify(request) if polls else await door.admit(request)
        count = partial(door.limits.count_runs, caller)
        return Asker(caller.id, public_base(request, settings), caller.check_may_use, count)

    return ask


def given(ask: Ask) -> dict[str, Provide]:
    """What `Asking` and `House` are; the application keeps its `Runs` in `state.runs`."""

    async def asker(request: AnyRequest) -> Asker:
        return await ask(request)

    def runs(request: AnyRequest) -> Runs:
        found: Runs = request.app.state.runs
        return found

    return {
        "asker": Provide(asker),
        "runs": Provide(runs, sync_to_thread=False),
    }
