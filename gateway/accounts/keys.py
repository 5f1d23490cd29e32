"""API keys: made by the command line, shown once, kept hashed, read by a running server.

A key is 256 random bits, so a plain SHA-256 hides it: there is nothing to guess that a
slow hash would protect.
"""

import base64
import fcntl
import hashlib
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

FILE = "keys.json"
MARK = "gw-"


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """A key without its secret.

    `models` are the model ids it may use (an endpoint's id allows its adapters too), any
    when empty; limits of None do not limit. `webhook_secret` signs webhooks of its runs.
    """

    id: str
    name: str
    created: int
    hashed: str
    webhook_secret: str
    models: tuple[str, ...] = ()
    requests_per_minute: int | None = None
    concurrent_samples: int | None = None


class KeyStore:
    """The keys in a data folder; changes by another process are seen at once."""

    def __init__(self, data: Path) -> None:
        self._path = data / FILE
        self._stamp: tuple[int, int] | None = None
        self._keys: dict[str, Key] = {}

    def keys(self) -> list[Key]:
        """Every key, oldest first."""
        self._refresh()
        return list(self._keys.values())

    def find(self, secret: str) -> Key | None:
        """The key that a secret belongs to."""
        self._refresh()
        hashed = _hash(secret)
        return next((key for key in self._keys.values() if key.hashed == hashed), None)

    def get(self, key_id: str) -> Key | None:
        """The key of an id."""
        self._refresh()
        return self._keys.get(key_id)

    def create(
        self,
        name: str,
        *,
        models: tuple[str, ...] = (),
        requests_per_minute: int | None = None,
        concurrent_samples: int | None = None,
    ) -> tuple[Key, str]:
        """A new key and its secret, which is not kept."""
        secret = MARK + secrets.token_urlsafe(32)
        key = Key(
            id=secrets.token_hex(4),
            name=name,
            created=int(time.time()),
            hashed=_hash(secret),
            webhook_secret="whsec_" + base64.b64encode(secrets.token_bytes(24)).decode(),
            models=models,
            requests_per_minute=requests_per_minute,
            concurrent_samples=concurrent_samples,
        )
        with self._alone():
            self._refresh()
            self._write({**self._keys, key.id: key})
        return key, secret

    def revoke(self, key_id: str) -> bool:
        """Forget a key; False if there is none of that id."""
        with self._alone():
            self._refresh()
            kept = {id: key for id, key in self._keys.items() if id != key_id}
            if len(kept) == len(self._keys):
                return False
            self._write(kept)
            return True

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold off other processes that would change the keys at the same moment."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _refresh(self) -> None:
        try:
            facts = self._path.stat()
        except FileNotFoundError:
            self._stamp, self._keys = None, {}
            return
        stamp = (facts.st_mtime_ns, facts.st_ino)
        if stamp != self._stamp:
            found = msgspec.json.decode(self._path.read_bytes(), type=list[Key])
            self._stamp, self._keys = stamp, {key.id: key for key in found}

    def _write(self, keys: dict[str, Key]) -> None:
        partial = self._path.with_suffix(".partial")
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
            out.write(msgspec.json.format(msgspec.json.encode(list(keys.values()))))
        partial.replace(self._path)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
