"""Addresses that are not the public internet, whatever the Python that runs knows of them.

From IANA's special-purpose and multicast registries, each row with the document that sets
it aside. Rows that IANA calls globally reachable are here too (anycast relays, AS112 sinks,
identifiers): no picture and no webhook's receiver lives there. Beside them stand public
addresses at which clouds answer their own machines.
"""

import ipaddress
from collections.abc import Iterator

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_IPV4 = (
    ("0.0.0.0/8", "this network", "RFC 791"),
    ("10.0.0.0/8", "private", "RFC 1918"),
    ("100.64.0.0/10", "shared by a carrier's customers", "RFC 6598"),
    ("127.0.0.0/8", "loopback", "RFC 1122"),
    ("169.254.0.0/16", "link-local", "RFC 3927"),
    ("172.16.0.0/12", "private", "RFC 1918"),
    ("192.0.0.0/24", "protocol assignments", "RFC 6890"),
    ("192.0.2.0/24", "documentation", "RFC 5737"),
    ("192.31.196.0/24", "AS112 sinks", "RFC 7535"),
    ("192.52.193.0/24", "multicast tunnels", "RFC 7450"),
    ("192.88.99.0/24", "6to4 relays", "RFC 7526"),
    ("192.168.0.0/16", "private", "RFC 1918"),
    ("192.175.48.0/24", "AS112 sinks", "RFC 7534"),
    ("198.18.0.0/15", "benchmarks", "RFC 2544"),
    ("198.51.100.0/24", "documentation", "RFC 5737"),
    ("203.0.113.0/24", "documentation", "RFC 5737"),
    ("224.0.0.0/4", "multicast", "RFC 5771"),
    ("240.0.0.0/4", "reserved, with the limited broadcast", "RFC 1112, RFC 8190"),
    ("168.63.129.16/32", "Azure's host of a machine", "Azure, 'What is 168.63.129.16?'"),
)

_IPV6 = (
    ("::/128", "unspecified", "RFC 4291"),
    ("::1/128", "loopback", "RFC 4291"),
    ("::/96", "IPv4-compatible", "RFC 4291, section 2.5.5.1"),
    ("::ffff:0:0:0/96", "IPv4-translated", "RFC 2765"),
    ("64:ff9b:1::/48", "local translation of IPv4", "RFC 8215"),
    ("100::/64", "discard", "RFC 6666"),
    ("100:0:0:1::/64", "dummy", "RFC 9780"),
    ("2001::/23", "protocol assignments: Teredo, ORCHID, …", "RFC 2928, RFC 4380, RFC 7343"),
    ("2001:db8::/32", "documentation", "RFC 3849"),
    ("2620:4f:8000::/48", "AS112 sinks", "RFC 7534"),
    ("3fff::/20", "documentation", "RFC 9637"),
    ("5f00::/16", "segment routing", "RFC 9602"),
    ("fc00::/7", "unique local", "RFC 4193"),
    ("fe80::/10", "link-local", "RFC 4291"),
    ("fec0::/10", "site-local", "RFC 3879"),
    ("ff00::/8", "multicast", "RFC 4291"),
    ("::/3", "not handed out", "IANA, IPv6 address space"),
    ("4000::/2", "not handed out", "IANA, IPv6 address space"),
    ("8000::/1", "not handed out", "IANA, IPv6 address space"),
)

CLOSED: tuple[tuple[Network, str], ...] = tuple(
    (ipaddress.ip_network(network), what) for network, what, _source in _IPV4 + _IPV6
)
"""Every network that is not to be reached, with what it is; the narrower before the wider."""

_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")  # RFC 4291, section 2.5.5.2
_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052
_ISATAP = (0x00005EFE, 0x02005EFE)  # RFC 5214: the first half of an interface's identifier


def closed_as(address: Address) -> str | None:
    """What an address is if it is not on the public internet, or wraps one that is not."""
    found = [_closed_as(each) for each in _judged(address)]
    return next((what for what in found if what), None)


def _closed_as(address: Address) -> str | None:
    for network, what in CLOSED:
        if address in network:
            return what
    # A newer Python may know of what has been set aside since.
    return None if address.is_global else "reserved"


def _judged(address: Address) -> Iterator[Address]:
    """The addresses that packets to an address may go to."""
    if isinstance(address, ipaddress.IPv4Address):
        yield address
        return
    number = int(address)
    last = ipaddress.IPv4Address(number & 0xFFFFFFFF)
    if address in _MAPPED or address in _TRANSLATED:
        yield last
    elif address.sixtofour:  # RFC 3056
        yield address.sixtofour
    else:
        yield address
        if number >> 32 & 0xFFFFFFFF in _ISATAP:
            yield last
