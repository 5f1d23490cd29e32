"""What this gateway signs: the URLs that it gives out, and webhooks that no key asked for."""

import base64
import hashlib
import hmac
import os
import secrets
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

SECRET_FILE = "url-secret"


class Signer:
    """Signs with the first of its secrets, and knows what was signed with any of them.

    There are several where fronts came together that had been gateways of their own.
    """

    def __init__(self, known: Sequence[bytes]) -> None:
        self._secrets = tuple(known)

    @classmethod
    def of_folder(cls, data: Path) -> "Signer":
        """With the one secret of a data folder."""
        return cls([read_secret(data / SECRET_FILE)])

    def learn(self, known: Sequence[bytes]) -> None:
        """Go by these from now on."""
        self._secrets = tuple(known)

    def sign(self, text: str) -> str:
        """What is put beside a text that is given out."""
        return _signature(self._secrets[0], text)

    def is_signed(self, text: str, signature: str) -> bool:
        """Whether a signature was given out here, or at another front."""
        given = signature.encode()
        return any(
            hmac.compare_digest(_signature(secret, text).encode(), given)
            for secret in self._secrets
        )

    def webhook_secrets(self) -> tuple[str, ...]:
        """The secrets of webhooks that no key asked for, the one that counts first."""
        return tuple(_webhook_secret(secret) for secret in self._secrets)


def new_secret() -> str:
    """A secret that nobody has yet."""
    return secrets.token_hex(32)


def read_secret(path: Path) -> bytes:
    """The secret of a file; made on first use and readable by its owner alone."""
    if path.exists():
        return path.read_bytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(new_secret())
    with suppress(FileExistsError):
        os.link(partial, path)  # whole or not at all, and never over another process's
    partial.unlink()
    return path.read_bytes()


def _signature(secret: bytes, text: str) -> str:
    return hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()[:32]


def _webhook_secret(secret: bytes) -> str:
    derived = hmac.new(secret, b"webhooks", hashlib.sha256).digest()
    return "whsec_" + base64.b64encode(derived).decode()
