"""Numbers of bytes as people read and write them."""

import re

UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_WRITTEN = re.compile(r"(\d+(?:\.\d+)?) ?([KMGT])(i?)B", re.IGNORECASE)


def shown_bytes(size: float) -> str:
    """`6.5 GiB`: three digits at most, in the unit that needs no more."""
    for unit in UNITS:
        if round(size) < 1000 or unit == UNITS[-1]:
            break
        size /= 1024
    return f"{size:.3g} {unit}"


def written_bytes(text: str) -> int:
    """What `12GiB`, `800 MiB` or `12GB` (of thousands) says."""
    found = _WRITTEN.fullmatch(text.strip())
    assert found, text
    number, unit, is_binary = found.groups()
    return int(float(number) * (1024 if is_binary else 1000) ** ("KMGT".index(unit.upper()) + 1))
