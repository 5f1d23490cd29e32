"""Numbers of bytes as people read them."""

UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def shown_bytes(size: float) -> str:
    """`6.5 GiB`: three digits at most, in the unit that needs no more."""
    for unit in UNITS:
        if round(size) < 1000 or unit == UNITS[-1]:
            break
        size /= 1024
    return f"{size:.3g} {unit}"
