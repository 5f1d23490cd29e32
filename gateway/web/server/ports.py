"""The port, bound before anything else is taken up; it listens once there is an answer."""

import errno
import socket

from gateway.settings import Settings, SettingsError

ABSENT = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
"""A name may mean an address of a family that this machine does not have."""


def bound_sockets(settings: Settings) -> list[socket.socket]:
    """Sockets at every address that the host's name means, all on one port.

    Raises:
        SettingsError: the host is unknown, or the port is taken or may not be had.
    """
    bound: list[socket.socket] = []
    port, absent = settings.port, None
    try:
        for family, address in _addresses(settings):
            try:
                bound.append(_bound(family, (address[0], port, *address[2:])))
            except OSError as error:
                if error.errno not in ABSENT:
                    raise
                absent = error
            else:
                port = bound[-1].getsockname()[1]
        if not bound and absent:
            raise absent
    except (OSError, UnicodeError) as error:
        for one in bound:
            one.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise SettingsError(f"--host {settings.host} --port {settings.port}: {reason}") from None
    return bound


def _addresses(settings: Settings) -> list[tuple[socket.AddressFamily, tuple[object, ...]]]:
    host, kind = settings.host or None, socket.SOCK_STREAM
    found = socket.getaddrinfo(host, settings.port, type=kind, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((family, address) for family, _, _, _, address in found))


def _bound(family: socket.AddressFamily, address: tuple[object, ...]) -> socket.socket:
    one = socket.socket(family, socket.SOCK_STREAM)
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        one.bind(address)
        one.setblocking(False)
    except OSError:
        one.close()
        raise
    return one
