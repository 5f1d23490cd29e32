"""Which devices draw, as they are named at the start: each is the place of one replica."""

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from importlib.util import find_spec

import msgspec

from gateway.settings import Settings, SettingsError, variable

ALL = "all"
MOST = 64
COUNT = "import torch; print(torch.cuda.device_count())"
_CPUS = re.compile(r"cpu:([0-9]{1,3})")
_GPUS = re.compile(r"gpu:([0-9]{1,3})(?:@(0\.[0-9]{1,2}))?")
_DEVICE = re.compile(r"(cuda|xpu|hpu|mtia|mps)(:[0-9]{1,2})?|cpu")


class Place(msgspec.Struct, frozen=True):
    """Where one replica draws.

    `device` is as its engine's setting names it; `index` that of the GPU which alone it sees,
    None where Ray chooses one, or there is none. Its engine has so many CPU `threads`, 0 for what
    torch takes. Of a cluster's, Ray keeps so many `cores` for it, and `gpus` or a part of one.
    """

    name: str
    device: str
    index: int | None = None
    threads: int = 0
    cores: int = 0
    gpus: float = 0.0


def places_here(named: Sequence[str], count: Callable[[], int] | None = None) -> list[Place]:
    """The places that devices of this machine make; a device named twice is shared by two.

    `count` tells how many GPUs there are, where all are meant.

    Raises:
        SettingsError: a name that is none, or no GPU where all are wanted.
    """
    devices: list[str] = []
    for name in named:
        if name == ALL:
            devices += [f"cuda:{index}" for index in range(_found(count or num_gpus))]
        elif cpus := _CPUS.fullmatch(name):
            devices += ["cpu"] * int(cpus[1])
        elif _DEVICE.fullmatch(name):
            devices.append(name)
        else:
            raise _refusal(named, "cuda:0,cuda:1,…, all, or cpu:2 for two replicas")
    _check_number(devices, named)
    times, threads = Counter(devices), max(1, num_cores() // len(devices))
    names = Counter[str]()
    places = []
    for device in devices:
        names[device] += 1
        kind, _, index = device.partition(":")
        name = device if times[device] == 1 else f"{device}.{names[device]}"
        sees = int(index) if kind == "cuda" and index else None
        places.append(Place(name, device if sees is None else kind, sees, threads))
    return places


def places_there(named: Sequence[str], num_there: int) -> list[Place]:
    """The places in a cluster that has so many GPUs; which one each is, Ray decides.

    Raises:
        SettingsError: a name that means nothing there.
    """
    places: list[Place] = []
    for name in named or (ALL,):
        if cpus := _CPUS.fullmatch(name):
            places += [Place(f"cpu.{1 + n}", "cpu", None, 1, 1) for n in range(int(cpus[1]))]
        elif gpus := _GPUS.fullmatch(f"gpu:{num_there}" if name == ALL else name):
            share = float(gpus[2] or 1)
            numbers = range(1, 1 + int(gpus[1]))
            places += [Place(f"gpu.{number}", "cuda", gpus=share) for number in numbers]
        else:
            raise _refusal(named, "all, gpu:4, gpu:8@0.5 for two on each, or cpu:4")
    _check_number(places, named or (ALL,))
    return places


def check_devices(settings: Settings) -> None:
    """See that devices are named as such and that what several need is here, without counting.

    Raises:
        SettingsError: they are not, or it is not.
    """
    if settings.cluster:
        places_there(settings.devices, 1)
    elif not settings.devices or len(places_here(settings.devices, lambda: 1)) == 1:
        return
    check_ray()


def check_ray() -> None:
    """See that Ray is installed.

    Raises:
        SettingsError: it is not, and how it would be.
    """
    if find_spec("ray") is None:
        raise SettingsError(
            "several devices, or a cluster, need Ray: pip install 'image-gateway[cluster]'"
        )


def num_gpus() -> int:
    """How many GPUs torch sees, told by a process of its own: this one holds no torch."""
    done = subprocess.run(
        [sys.executable, "-c", COUNT], capture_output=True, text=True, check=False
    )
    return int(done.stdout) if done.returncode == 0 else 0


def num_cores() -> int:
    """How many cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _found(count: Callable[[], int]) -> int:
    if number := count():
        return number
    raise _refusal((ALL,), "a GPU, and none is found; cpu:2 tries two replicas without one")


def _check_number(there: Sequence[object], named: Sequence[str]) -> None:
    if not 0 < len(there) <= MOST:
        raise _refusal(named, f"1 to {MOST} replicas")


def _refusal(named: Sequence[str], wanted: str) -> SettingsError:
    given = ",".join(named)
    return SettingsError(f"{variable('devices')} (--devices) = {given!r}: expected {wanted}")
