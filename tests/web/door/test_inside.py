"""Lines of batches are asked and answered in pieces, however large."""

from typing import Any

from gateway.runs.batches.records import Batch, Line
from gateway.web.door.inside import PIECE_BYTES, ask_inside

URL = "/v1/images/edits"


async def test_a_line_goes_in_pieces_and_its_answer_comes_in_them() -> None:
    asked: list[bytes] = []
    answered = [b'{"b64_json":"', *[b"A" * 2**20] * 3, b'"}']

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (message := await receive()) and message.get("more_body"):
            asked.append(message["body"])
        headers = [(b"x-request-id", b"req_1")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for piece in answered:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    line = Line(id="a", method="POST", url=URL, body={"image": "a" * PIECE_BYTES * 3})
    batch = Batch(
        id="b", owner="", endpoint=URL, input_file_id="f", created_at=0, expires_at=1,
        base_url="http://127.0.0.1:8000",
    )  # fmt: skip
    answer = await ask_inside(app)(batch, line)
    assert b"".join(asked).endswith(b'a"}')
    assert max(map(len, asked)) == PIECE_BYTES
    assert [piece for piece in answer.body if piece] == answered
