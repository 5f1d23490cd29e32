"""Every fault keeps its status, and its headers tell clients whether to come back."""

import pytest

from gateway.errors import (
    GatewayError,
    GenerationFailed,
    InvalidValue,
    NotOffered,
    Overloaded,
    ShuttingDown,
)
from gateway.web.door.answers.envelope import envelope, retry_headers


@pytest.mark.parametrize(
    ("error", "headers"),
    [
        (Overloaded("full", retry_after_seconds=0.2), {"Retry-After": "1"}),
        (Overloaded("full", retry_after_seconds=7.1), {"Retry-After": "8"}),
        (Overloaded("full", retry_after_seconds=700), {"Retry-After": "60"}),
        (ShuttingDown("ending"), {"Retry-After": "1"}),
        (GenerationFailed("broken"), {"x-should-retry": "false"}),
        (NotOffered("no"), {"x-should-retry": "false"}),
        (InvalidValue("size", "big", "'auto'"), {}),
    ],
)
def test_headers_tell_whether_to_come_back(error: GatewayError, headers: dict[str, str]) -> None:
    assert retry_headers(error) == headers


def test_the_envelope_has_all_four_keys() -> None:
    said = envelope(InvalidValue("size", "big", "'auto'")).error
    assert (said.type, said.param, said.code) == ("invalid_request_error", "size", "invalid_value")
    assert said.message == "Invalid value: 'big'. Supported values are: 'auto'."
    bare = envelope(GatewayError("ours")).error
    assert (bare.type, bare.param, bare.code) == ("server_error", None, None)
