"""Log lines, written beside the work: whoever reads them late must not hold it up."""

import logging
import os
import threading
from collections import deque
from contextlib import suppress
from typing import TextIO

from gateway.telemetry.metrics import LOG_LINES_DROPPED

MAX_BYTES = 2**22
"""Of lines that wait for their reader; a pipe itself holds 64 KiB."""

LAST_SECONDS = 1.0
"""How long an end waits for a reader of the last lines."""


class LineWriter(logging.Handler):
    """Writes records in a thread of its own; those that nobody reads are dropped and counted.

    It writes to the stream's descriptor where there is one: a thread that is stuck must hold
    no lock that the interpreter's end asks for.
    """

    def __init__(self, stream: TextIO | None) -> None:
        super().__init__()
        self.stream = stream
        self._descriptor = _descriptor(stream)
        self._is_closed = False
        self._changed = threading.Condition()
        self._lines: deque[bytes] = deque()
        self._num_bytes = 0
        self._num_dropped = 0
        threading.Thread(target=self._run, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Have a record written, or count it where too many wait."""
        try:
            line = f"{self.format(record)}\n".encode(errors="replace")
        except Exception:
            self.handleError(record)
            return
        with self._changed:
            if self._num_bytes + len(line) > MAX_BYTES:
                self._num_dropped += 1
                LOG_LINES_DROPPED.inc()
                return
            self._add(line)

    def flush(self) -> None:
        """Wait until all is written, but not for a reader that has stopped reading."""
        with self._changed:
            self._changed.wait_for(lambda: not self._num_bytes, LAST_SECONDS)

    def close(self) -> None:
        """Write what is left, and no more."""
        self.flush()
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        super().close()

    def _add(self, line: bytes) -> None:
        self._lines.append(line)
        self._num_bytes += len(line)
        self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._lines or self._is_closed)
                if not self._lines:
                    return
                line = self._lines.popleft()
            with suppress(OSError, ValueError):  # a full disk, a reader that has gone
                self._write(line)
            with self._changed:
                self._num_bytes -= len(line)
                self._changed.notify_all()
                if self._num_dropped and self._num_bytes <= MAX_BYTES // 2:
                    self._tell_dropped()

    def _tell_dropped(self) -> None:
        """Say how many lines are missing here."""
        message = f"{self._num_dropped} log lines were dropped: nobody read them in time"
        self._num_dropped = 0
        told = logging.LogRecord(__name__, logging.WARNING, __file__, 0, message, None, None)
        self._add(f"{self.format(told)}\n".encode())

    def _write(self, line: bytes) -> None:
        if self._descriptor is None and self.stream is not None:
            self.stream.write(line.decode())
            self.stream.flush()
        while self._descriptor is not None and line:
            line = line[os.write(self._descriptor, line) :]


def _descriptor(stream: TextIO | None) -> int | None:
    try:
        return stream.fileno() if stream is not None else None
    except (OSError, ValueError):
        return None
