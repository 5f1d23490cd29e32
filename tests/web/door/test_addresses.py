"""URLs given out begin as the client reached the gateway, through a proxy or not."""

import pytest
from litestar.testing import RequestFactory

from gateway.settings import Settings
from gateway.web.door.addresses import public_base

HOST = {"Host": "images.example:8000"}


@pytest.mark.parametrize(
    ("headers", "base"),
    [
        (HOST, "http://images.example:8000"),
        ({**HOST, "X-Forwarded-Proto": "https"}, "https://images.example:8000"),
        ({**HOST, "X-Forwarded-Host": "a.example"}, "http://a.example"),
        ({**HOST, "X-Forwarded-Host": "a.example, b.example"}, "http://a.example"),
        (
            {**HOST, "X-Forwarded-Host": "a.example", "X-Forwarded-Port": "8443"},
            "http://a.example:8443",
        ),
        (
            {
                **HOST,
                "X-Forwarded-Proto": "https",
                "X-Forwarded-Host": "a.example",
                "X-Forwarded-Port": "443",
                "X-Forwarded-Prefix": "/gw/",
            },
            "https://a.example/gw",
        ),
        ({"Host": "[::1]:8000"}, "http://[::1]:8000"),
    ],
)
def test_the_base_is_what_the_client_asked(headers: dict[str, str], base: str) -> None:
    request = RequestFactory().get("/v1/models", headers=headers)
    assert public_base(request, Settings()) == base


def test_a_configured_address_wins() -> None:
    request = RequestFactory().get("/", headers={**HOST, "X-Forwarded-Host": "a.example"})
    settings = Settings(public_url="https://pictures.example/base/")
    assert public_base(request, settings) == "https://pictures.example/base"
