"""The port, bound before anything else is taken up; it listens once there is an answer."""

import errno
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from gateway.settings import Settings, SettingsError

UNSENT_BYTES = 2**17
"""Of an answer that its reader leaves lying, in the kernel, which else takes megabytes."""

ABSENT = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
"""A name may mean an address of a family that this machine does not have."""


@contextmanager
def bound_sockets(settings: Settings) -> Iterator[list[socket.socket]]:
    """Sockets at every address that the host's name means, all on one port.

    Raises:
        SettingsError: the host is unknown, or the port is taken or may not be had.
    """
    with ExitStack() as held:
        try:
            bound = [held.enter_context(one) for one in _all_bound(settings)]
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            where = f"--host {settings.host} --port {settings.port}"
            raise SettingsError(f"{where}: {reason}") from None
        yield bound


def _all_bound(settings: Settings) -> Iterator[socket.socket]:
    """As many as can be bound on this machine, one at least."""
    port, num_bound, absent = settings.port, 0, None
    for family, address in _addresses(settings):
        try:
            one = _bound(family, (address[0], port, *address[2:]))
        except OSError as error:
            if error.errno not in ABSENT:
                raise
            absent = error
            continue
        port = one.getsockname()[1]
        num_bound += 1
        yield one
    if absent and not num_bound:
        raise absent


def _addresses(settings: Settings) -> list[tuple[socket.AddressFamily, tuple[object, ...]]]:
    host, kind = settings.host or None, socket.SOCK_STREAM
    found = socket.getaddrinfo(host, settings.port, type=kind, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((family, address) for family, _, _, _, address in found))


def _bound(family: socket.AddressFamily, address: tuple[object, ...]) -> socket.socket:
    one = socket.socket(family, socket.SOCK_STREAM)
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Every connection has it from here.
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        one.bind(address)
        one.setblocking(False)
    except OSError:
        one.close()
        raise
    return one
