"""Weights as files: read, never mapped, and remembered by what they were when they were read.

A mapped file that is cut short ends the process, and one that is written over changes weights
in use. So no weights in memory are a view of a file.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, TypeVar

import safetensors
import safetensors.torch
import transformers.modeling_utils

from gateway.catalog.cards import CardError
from gateway.catalog.heads.digests import Digests
from gateway.catalog.heads.endings import WEIGHTS
from gateway.catalog.heads.stamps import Stamp, are_unchanged, stamps_of, wait_for_tick
from gateway.catalog.sources.weights import weights_of

T = TypeVar("T")
NUM_READS = 5
"""How often files that change while they are read are read again."""

_mapped = safetensors.safe_open


def safe_open(
    filename: Any, framework: str = "pt", device: Any = "cpu", *, backend: str = "pread"
) -> Any:
    """safetensors' own, whose tensors own their memory: read one by one, so none is held twice."""
    return _mapped(filename, framework, device, backend="pread")


for module in (safetensors, safetensors.torch, transformers.modeling_utils):
    # They ask for a mapping by name, and diffusers' `disable_mmap` holds a file in memory twice.
    vars(module)["safe_open"] = safe_open


@contextmanager
def in_small_letters(path: Path) -> Iterator[Path]:
    """A safetensors file under a name that diffusers does not take for a pickle's."""
    if path.suffix == WEIGHTS:
        yield path
        return
    with TemporaryDirectory() as folder:
        link = Path(folder) / f"{path.stem}{WEIGHTS}"
        link.symlink_to(path.absolute())
        yield link


class Origin(NamedTuple):
    """What something in memory was read from: the weights' digest, and every file's stamp."""

    digest: str | None = None
    stamps: Mapping[str, Stamp | None] = {}

    @property
    def is_current(self) -> bool:
        """Whether the files are still those; some microseconds a file."""
        return are_unchanged(self.stamps)


def read_unchanged(
    files: Callable[[], Sequence[Path]], read: Callable[[], T], digests: Digests
) -> tuple[T, Origin]:
    """Read files, again where they changed meanwhile, and say what was read.

    Their digest comes first: what waits for a slow disk then holds no lock, and finds in memory
    what it reads again.

    Raises:
        CardError: they change all the time.
    """
    for _ in range(NUM_READS):
        paths = files()
        before = stamps_of(paths)
        wait_for_tick(before.values())
        try:
            digest = digests.of(weights_of(paths))
            found = read()
        except Exception:
            if are_unchanged(before):
                raise
            continue
        if before == stamps_of(files()):
            return found, Origin(digest, before)
    raise CardError(f"{', '.join(before)}: changed whenever they were read")
