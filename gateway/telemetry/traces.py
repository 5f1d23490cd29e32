"""Where the time of each request goes, told to a collector by OpenTelemetry; off without one.

The rest of the gateway knows this module alone. While it is off, what is asked of it here does
nothing, and no library is imported; `spans.py` is what stands behind it (extra `otel`).
"""

import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    nullcontext,
)
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import structlog
from litestar import Litestar
from litestar.types import ASGIApp, BeforeRequestHookHandler

from gateway.job import Event, Job
from gateway.settings import Settings, SettingsError, variable

if TYPE_CHECKING:
    from gateway.telemetry.spans import Spans

LINKED_TO = "linked_to"
"""In the state of a request that comes from inside: the trace that it is on behalf of."""

MISSING = "traces need libraries of their own: pip install 'image-gateway[otel]'"
_NEEDED = ("opentelemetry.sdk", "opentelemetry.exporter", "opentelemetry.instrumentation.asgi")
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_NOTHING = nullcontext()
Lifespan = Callable[[Litestar], AbstractAsyncContextManager[None]]

log = structlog.get_logger()


class _On:
    """What is told now, by whichever application was put together last."""

    spans: "Spans | None" = None


def begin(settings: Settings) -> Lifespan:
    """Tell of everything from now on where settings or environment name a collector.

    Returns what is to be entered first and left last, so that all that ends is told.

    Raises:
        SettingsError: the settings do, and the libraries are missing; or a standard variable is
            malformed.
    """
    spans = _On.spans = _spans(settings)

    @asynccontextmanager
    async def told(_app: Litestar) -> AsyncIterator[None]:
        try:
            yield
        finally:
            if spans is not None:
                _On.spans = None if _On.spans is spans else _On.spans
                await spans.close(settings.grace_seconds)

    return told


def around(app: ASGIApp, quiet: tuple[str, ...]) -> ASGIApp:
    """An application each of whose requests is told of, but for paths that begin so."""
    return app if _On.spans is None else _On.spans.around(app, quiet)


def naming() -> "BeforeRequestHookHandler | None":
    """What names a request's span by its route."""
    return None if _On.spans is None else _On.spans.name


def span(name: str, **attributes: str | int) -> AbstractContextManager[None]:
    """A part of the work under way, told by its name."""
    return _NOTHING if _On.spans is None else _On.spans.span(name, attributes)


def told(job: Job, events: AsyncGenerator[Event]) -> AsyncGenerator[Event]:
    """A job's events, of which the trace under way is told."""
    return events if _On.spans is None else _On.spans.told(job, events)


def current() -> str:
    """The trace under way, as `traceparent` has it; empty while there is none."""
    return "" if _On.spans is None else _On.spans.current()


def failed(why: str) -> None:
    """The part under way came to nothing."""
    if _On.spans is not None:
        _On.spans.failed(why)


def again(
    trace: str, name: str, *, asks: bool = False, **attributes: str | int
) -> AbstractContextManager[dict[str, str]]:
    """A part of a trace that was under way when something was begun, maybe in another process.

    With `asks` another server is asked, which goes on with the trace by the headers.
    """
    if _On.spans is None:
        return nullcontext({})
    return _On.spans.again(trace, name, attributes, asks=asks)


def ids() -> dict[str, str]:
    """The `trace_id` and `span_id` under way, for the log; empty while there are none."""
    return {} if _On.spans is None else _On.spans.ids()


def exemplar() -> dict[str, str] | None:
    """The same for a metric, where somebody can look it up."""
    return None if _On.spans is None else _On.spans.exemplar()


def note_ids(_logger: Any, _method: str, event: Any) -> Any:
    """Put the trace under way into a line of the log."""
    event.update(ids())
    return event


def _spans(settings: Settings) -> "Spans | None":
    if not _is_wanted(settings):
        return None
    if not all(map(_is_there, _NEEDED)):
        if settings.otlp_endpoint:
            raise SettingsError(f"{variable('otlp_endpoint')} (--otlp-endpoint): {MISSING}")
        log.warning(f"nothing is told to the collector that the environment names: {MISSING}")
        return None
    try:
        from gateway.telemetry.spans import Spans  # noqa: PLC0415  only who traces needs it

        return Spans(settings.otlp_endpoint)
    except ValueError as error:  # the SDK's own, of the standard variables
        raise SettingsError(f"a variable OTEL_…: {error}") from None


def _is_wanted(settings: Settings) -> bool:
    """By the standard variables, and the setting."""
    said = {name: value.strip() for name, value in os.environ.items() if name.startswith("OTEL_")}
    if said.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    if said.get("OTEL_TRACES_EXPORTER", "otlp") not in ("", "otlp"):
        return False
    return bool(settings.otlp_endpoint or any(said.get(name) for name in _ENDPOINTS))


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False
