"""Logs: one JSON object a line, the server's own lines included; plain lines on a terminal."""

import logging
import os
import sys
from typing import Any

import structlog

from gateway.telemetry.lines import LineWriter
from gateway.telemetry.traces import note_ids

SHARED: list[structlog.typing.Processor] = [
    structlog.contextvars.merge_contextvars,
    note_ids,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


def quiet_libraries() -> None:
    """Have the model libraries speak of errors alone; to be called before they are imported."""
    for name in ("TRANSFORMERS_VERBOSITY", "DIFFUSERS_VERBOSITY"):
        os.environ.setdefault(name, "error")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    for name in ("torchao", "torch.utils._pytree"):  # of each other, whenever the former is there
        logging.getLogger(name).setLevel(logging.ERROR)


def configure_logs() -> None:
    """Send structlog's and the standard library's records to standard error as JSON."""
    structlog.configure(
        processors=[*SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    handler = _writer(root)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _renderer(),
            ],
            foreign_pre_chain=SHARED,
        )
    )
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)
    # A log that cannot be written, its disk full or its reader gone, is no reason to say more.
    logging.raiseExceptions = False
    for name in ("httpx", "uvicorn.access"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _writer(root: logging.Logger) -> LineWriter:
    """The one that writes to standard error as it is now; it may have been set up before."""
    for handler in root.handlers:
        if isinstance(handler, LineWriter):
            if handler.stream is sys.stderr:
                return handler
            handler.close()
    return LineWriter(sys.stderr)


def _renderer() -> Any:
    if sys.stderr is not None and sys.stderr.isatty():
        # Without the values of locals: to print a model's takes seconds, on the thread that draws.
        return structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    exceptions, as_json = structlog.processors.format_exc_info, structlog.processors.JSONRenderer()
    return lambda logger, name, event: as_json(logger, name, exceptions(logger, name, event))
