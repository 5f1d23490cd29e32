"""What a client would rather have, by the weights of its Accept header."""

import pytest

from gateway.web.door.answers.accepting import preferred

OFFERED = ("application/json", "image/png", "image/jpeg", "image/webp")


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", None),
        ("*/*", "application/json"),
        ("image/*", "image/png"),
        ("image/webp", "image/webp"),
        ("image/webp, image/png", "image/webp"),
        ("application/json, image/png", "application/json"),
        ("image/png, application/json", "image/png"),
        ("application/json;q=0.1, image/png", "image/png"),
        ("image/png;q=0.5, application/json", "application/json"),
        ("image/png; q=0.5 , image/jpeg;q=0.9", "image/jpeg"),
        ("image/png, */*", "image/png"),
        ("image/png;q=0.2, */*;q=0.1", "image/png"),
        ("image/*;q=0.8, image/png;q=0.1", "image/jpeg"),
        ("image/png;q=0, */*;q=0.5", "application/json"),
        ("application/json;q=0, */*", "image/png"),
        ("image/avif", None),
        ("text/html, image/avif, image/webp, */*;q=0.8", "image/webp"),
        ("IMAGE/JPEG;Q=1.0", "image/jpeg"),
        ("image/png;q=x, application/json;q=0.9", "image/png"),
        ("image/png;q=٣;level=1", "image/png"),
        (";;,,=", None),
        ("a/b," * 100 + "image/png", None),
    ],
)
def test_the_weights_decide(accept: str, wanted: str | None) -> None:
    assert preferred(accept, OFFERED) == wanted
