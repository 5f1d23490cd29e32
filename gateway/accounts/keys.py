"""API keys: made by the command line, shown once, kept hashed, read by running servers.

A key is 256 random bits, so a plain SHA-256 hides it: there is nothing to guess that a
slow hash would protect.

They lie in the data folder, or in the database that several fronts share (`fronts/keys.py`).
Keys only go by being revoked or with their whole file: where they cannot be read, those stay
in force that were read before.
"""

import base64
import fcntl
import hashlib
import hmac
import os
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

FILE = "keys.json"
MOVED = "keys.moved"
"""Says where the keys of a folder are now, which is in it no more."""

MARK = "gw-"


class KeyFileError(Exception):
    """The keys cannot be used where they are kept; the message names it and says why."""


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """A key without its secret.

    `models` are the model ids it may use (an endpoint's id allows its adapters too), any
    when empty; limits of None do not limit. `webhook_secret` signs webhooks of its runs.
    An operator's key sees what all keys do.
    """

    id: str
    name: str
    created: int
    hashed: str
    webhook_secret: str
    models: tuple[str, ...] = ()
    requests_per_minute: int | None = None
    concurrent_samples: int | None = None
    operator: bool = False


class Keys(ABC):
    """Keys wherever they are kept; changes by another process are seen soon."""

    @property
    def fault(self) -> str | None:
        """Why they cannot be read, None where they can."""
        return None

    def keys(self) -> list[Key]:
        """Every key, oldest first."""
        return list(self.held().values())

    def find(self, secret: str) -> Key | None:
        """The key that a secret belongs to."""
        hashed = hash_of(secret).encode()
        for key in self.held().values():
            if hmac.compare_digest(key.hashed.encode(), hashed):
                return key
        return None

    def get(self, key_id: str) -> Key | None:
        """The key of an id."""
        return self.held().get(key_id)

    def create(
        self,
        name: str,
        *,
        models: tuple[str, ...] = (),
        requests_per_minute: int | None = None,
        concurrent_samples: int | None = None,
        operator: bool = False,
    ) -> tuple[Key, str]:
        """A new key and its secret, which is not kept.

        Raises:
            KeyFileError: the keys there are cannot be read.
        """
        secret = MARK + secrets.token_urlsafe(32)
        key = Key(
            id=secrets.token_hex(4),
            name=name,
            created=int(time.time()),
            hashed=hash_of(secret),
            webhook_secret="whsec_" + base64.b64encode(secrets.token_bytes(24)).decode(),
            models=models,
            requests_per_minute=requests_per_minute,
            concurrent_samples=concurrent_samples,
            operator=operator,
        )
        self.add(key)
        return key, secret

    @abstractmethod
    def revoke(self, key_id: str) -> bool:
        """Forget a key; False if there is none of that id.

        Raises:
            KeyFileError: the keys there are cannot be read.
        """

    def whole(self) -> Mapping[str, Key]:
        """Every key by its id, for who needs the place itself to be in order.

        Raises:
            KeyFileError: it cannot be read.
        """
        found = self.held()
        if self.fault is not None:
            raise KeyFileError(self.fault)
        return found

    @abstractmethod
    def held(self) -> Mapping[str, Key]:
        """Every key by its id as of now; asked for with each request."""

    @abstractmethod
    def add(self, key: Key) -> None:
        """Keep one more."""


class KeyStore(Keys):
    """The keys in a data folder; changes by another process are seen at once."""

    def __init__(self, data: Path) -> None:
        self._path = data / FILE
        self._stamp: tuple[int, ...] | None = None
        self._keys: dict[str, Key] = {}
        self._fault: str | None = None

    @property
    def fault(self) -> str | None:
        """Why the file could not be read when it was looked at last."""
        return self._fault

    def revoke(self, key_id: str) -> bool:
        """Forget a key; False if there is none of that id.

        Raises:
            KeyFileError: the keys there are cannot be read, or have moved.
        """
        with self._alone():
            kept = dict(self.whole())
            if kept.pop(key_id, None) is None:
                return False
            self._write(kept)
            return True

    def add(self, key: Key) -> None:
        """As `Keys`."""
        with self._alone():
            self._write({**self.whole(), key.id: key})

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold off other processes that would change the keys at the same moment."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        moved = self._path.with_name(MOVED)
        if moved.exists():
            raise KeyFileError(f"{moved}: {moved.read_text().strip()}")
        with self._path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def held(self) -> dict[str, Key]:
        """As `Keys`."""
        try:
            facts = self._path.stat()
            stamp = (facts.st_ino, facts.st_size, facts.st_ctime_ns)
            if stamp != self._stamp:
                found = msgspec.json.decode(self._path.read_bytes(), type=list[Key])
                self._keys = {key.id: key for key in found}
                self._stamp = stamp
            self._fault = None
        except FileNotFoundError:
            self._stamp, self._keys, self._fault = None, {}, None
        except (OSError, ValueError, RecursionError) as error:
            self._stamp, self._fault = None, f"{self._path} cannot be read: {error}"
        return self._keys

    def _write(self, keys: Mapping[str, Key]) -> None:
        partial = self._path.with_suffix(".partial")
        partial.unlink(missing_ok=True)  # what a crash left may be readable by others
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            if os.geteuid() == 0:  # who serves from the folder has to read it
                owner = self._path.parent.stat()
                os.fchown(out.fileno(), owner.st_uid, owner.st_gid)
            out.write(msgspec.json.format(msgspec.json.encode(list(keys.values()))))
            out.flush()
            os.fsync(out.fileno())
        partial.replace(self._path)


def hash_of(secret: str) -> str:
    """What is kept of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()
