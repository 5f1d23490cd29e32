"""Answers with pictures in them: whole, of the length they announce, and never made in one go."""

import base64
import json
import secrets
import time

import msgspec

from gateway.web.door.answers.content import GAP, PIECE_BYTES, Content

TURN_SECONDS = 0.05
"""What is promised; a piece takes a fiftieth of it."""


class Item(msgspec.Struct):
    note: str
    b64_json: str = GAP


class Items(msgspec.Struct):
    data: list[Item]


async def sent(content: Content) -> tuple[bytes, float]:
    """All of it, and the most processor time that a piece took."""
    pieces, longest, last = [], 0.0, time.thread_time()
    async for piece in content.sent():
        longest, last = max(longest, time.thread_time() - last), time.thread_time()
        pieces.append(piece)
        assert len(piece) <= 2 * PIECE_BYTES
    return b"".join(pieces), longest


async def test_pictures_stand_where_they_belong() -> None:
    pictures = [secrets.token_bytes(size) for size in (0, 1, 2, 3, PIECE_BYTES, PIECE_BYTES + 1)]
    answer = Items([Item(f"number {number}") for number in range(len(pictures))])
    content = Content.of(answer, pictures)
    body, _ = await sent(content)
    assert len(body) == content.size_bytes
    found = json.loads(body)["data"]
    assert [item["note"] for item in found] == [item.note for item in answer.data]
    assert [base64.b64decode(item["b64_json"]) for item in found] == pictures


async def test_what_is_small_goes_at_once() -> None:
    content = Content.of(Item("small"), [b"picture"])
    assert [piece async for piece in content.sent()] == [
        b'{"note":"small","b64_json":"cGljdHVyZQ=="}'
    ]


async def test_ten_large_pictures_leave_turns_to_others() -> None:
    picture = secrets.token_bytes(12 * 2**20)
    content = Content.of(Items([Item("x")] * 10), [picture] * 10)
    body, longest = await sent(content)
    assert len(body) == content.size_bytes
    assert longest < TURN_SECONDS
