"""What a replica's process says, kept for the front, which has the one log of the gateway."""

import logging
from collections import deque
from collections.abc import MutableMapping
from typing import Any

import structlog

MOST = 1000
"""Lines that are kept between two beats; the oldest go first."""

Line = tuple[int, dict[str, Any]]
"""A level of `logging`, and what is said, as texts."""

log = structlog.get_logger()


class Lines(logging.Handler):
    """Keeps lines until they are taken; safe from any thread."""

    def __init__(self) -> None:
        super().__init__()
        self._kept: deque[Line] = deque(maxlen=MOST)

    @classmethod
    def taking_all(cls) -> "Lines":
        """Have all that this process logs, by structlog and by `logging`, kept here."""
        lines = cls()
        structlog.configure(
            processors=[
                structlog.contextvars.merge_contextvars,
                structlog.processors.add_log_level,
                structlog.processors.format_exc_info,
                lines.process,
            ]
        )
        root = logging.getLogger()
        root.handlers = [lines]
        root.setLevel(logging.INFO)
        logging.captureWarnings(True)
        return lines

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record of `logging`."""
        self._kept.append((record.levelno, {"event": self.format(record)}))

    def process(self, logger: Any, method: str, event: MutableMapping[str, Any]) -> Any:
        """Keep an event of structlog, as its last processor."""
        level = logging.getLevelNamesMapping()[event.pop("level").upper()]
        self._kept.append((level, {name: _plain(fact) for name, fact in event.items()}))
        raise structlog.DropEvent

    def taken(self) -> tuple[Line, ...]:
        """What was said since the last time."""
        return tuple(self._kept.popleft() for _ in range(len(self._kept)))


def say(lines: tuple[Line, ...], replica: str) -> None:
    """Write lines of a replica into this process's log."""
    for level, facts in lines:
        log.log(level, **(facts | {"replica": replica}))


def _plain(fact: Any) -> Any:
    return fact if isinstance(fact, str | int | float | bool | None) else str(fact)
