"""The parts of a URL as others write them: what is valid is taken, the rest is none."""

import ipaddress
import re
from urllib.parse import urlsplit

SCHEMES = ("http", "https")
_HOST = re.compile(
    r"(?P<name>[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252}[A-Za-z0-9_.])?)(:(?P<port>[0-9]{1,5}))?"
)
_LITERAL = re.compile(r"\[(?P<name>[0-9A-Fa-f:.]{2,45})\](:(?P<port>[0-9]{1,5}))?")
_SEGMENT = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@%-]+")


def scheme_of(text: str) -> str:
    """`http` or `https`; empty for anything else."""
    folded = text.strip().lower()
    return folded if folded in SCHEMES else ""


def host_of(text: str) -> str:
    """A host with or without a port, as in a `Host` header; empty for anything else."""
    text = text.strip()
    found = _HOST.fullmatch(text) or _LITERAL.fullmatch(text)
    if found is None or (found["port"] and not port_of(found["port"])):
        return ""
    if text.startswith("["):
        try:
            ipaddress.IPv6Address(found["name"])
        except ValueError:
            return ""
    return text


def port_of(text: str) -> str:
    """A port's number; empty for anything else."""
    text = text.strip()
    is_port = re.fullmatch(r"[0-9]{1,5}", text) and 0 < int(text) <= 65535
    return str(int(text)) if is_port else ""


def prefix_of(text: str) -> str:
    """A path's beginning as `/a/b`; empty for none, and for what could not be one."""
    segments = [segment for segment in text.strip().split("/") if segment]
    is_path = all(_SEGMENT.fullmatch(part) and part not in (".", "..") for part in segments)
    return "".join(f"/{segment}" for segment in segments) if is_path else ""


def base_of(text: str) -> str:
    """An http(s) URL that others can be built on, without a trailing slash; empty for any other."""
    try:
        parts = urlsplit(text.strip())
    except ValueError:
        return ""
    scheme, host, prefix = scheme_of(parts.scheme), host_of(parts.netloc), prefix_of(parts.path)
    is_plain = not (parts.query or parts.fragment) and (prefix or not parts.path.strip("/"))
    return f"{scheme}://{host}{prefix}" if scheme and host and is_plain else ""


def is_loopback(host: str) -> bool:
    """Whether an address or name reaches this machine alone."""
    host = host.lower()
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def is_wide(host: str) -> bool:
    """Whether something is an address that other machines can reach."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return not is_loopback(host)
