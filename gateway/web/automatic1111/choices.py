"""Which checkpoint a key has chosen by `POST options`: one client's choice, kept over restarts."""

import hashlib

import msgspec

from gateway.accounts.limits import Caller
from gateway.catalog.catalog import Model
from gateway.errors import ModelNotFound
from gateway.images.objects import Objects
from gateway.web.automatic1111.names import model_named
from gateway.web.door.desk import Desk

FOLDER = "automatic1111/"


class Chosen(msgspec.Struct, frozen=True):
    """A checkpoint, as it was named."""

    checkpoint: str


class Choices:
    """By key; those without one share theirs."""

    def __init__(self, desk: Desk, objects: Objects) -> None:
        self._desk, self._objects = desk, objects

    async def choose(self, caller: Caller, name: str) -> None:
        """Draw with a checkpoint from now on, where a request names none.

        Raises:
            ModelNotFound: there is none.
            Forbidden: the key may not use it.
            NotStored: the choice cannot be kept now.
        """
        self.named(caller, name)
        await self._objects.put(_key(caller), msgspec.json.encode(Chosen(name)))

    async def model(self, caller: Caller, name: str | None = None) -> Model:
        """The model that a request means; the one chosen before, or the default, for none.

        Raises:
            ModelNotFound: it names one that is not served.
            Forbidden: the key may not use it.
        """
        if name is not None:
            return self.named(caller, name)
        kept = await self._objects.get(_key(caller))
        if kept is not None:
            try:
                return self.named(caller, msgspec.json.decode(kept, type=Chosen).checkpoint)
            except ModelNotFound:
                pass  # it was served when it was chosen
        return self._desk.resolve(None, caller)

    def named(self, caller: Caller, name: str) -> Model:
        """The model of a checkpoint's title.

        Raises:
            ModelNotFound: there is none.
            Forbidden: the key may not use it.
        """
        model = model_named(self._desk.catalog, name)
        caller.check_may_use(model)
        return model


def _key(caller: Caller) -> str:
    return FOLDER + hashlib.sha256(caller.id.encode()).hexdigest()[:32]
