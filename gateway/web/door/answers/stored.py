"""Stored bytes as an answer: what they are is told by themselves, not by who sent them."""

from litestar.response import Stream

from gateway.images.objects import Stored

SERVED_INLINE = ("image/png", "image/jpeg", "image/webp", "image/gif")


def streamed(stored: Stored, cache: str) -> Stream:
    """A file as it is read; `cache` is for how long it may be kept, as HTTP says it."""
    kind = sniffed(stored.beginning)
    headers = {
        "Content-Length": str(stored.size_bytes),
        "Cache-Control": cache,
        "X-Content-Type-Options": "nosniff",
    }
    if kind not in SERVED_INLINE:
        headers["Content-Disposition"] = "attachment"
    return Stream(stored.pieces(), media_type=kind, headers=headers)


def sniffed(data: bytes) -> str:
    """By the bytes: what was uploaded is not to be served as anything it claims to be."""
    if data.startswith(b"\x89PNG"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith(b"GIF8"):
        return "image/gif"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return "application/octet-stream"
