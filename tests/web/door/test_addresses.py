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
        ({**HOST, "X-Forwarded-Prefix": "img"}, "http://images.example:8000/img"),
        ({**HOST, "X-Forwarded-Prefix": "//a//b/"}, "http://images.example:8000/a/b"),
        ({**HOST, "X-Forwarded-Prefix": "/../x"}, "http://images.example:8000"),
        ({**HOST, "X-Forwarded-Prefix": "/a?b"}, "http://images.example:8000"),
        ({**HOST, "X-Forwarded-Proto": "wss"}, "http://images.example:8000"),
        ({**HOST, "X-Forwarded-Proto": "javascript"}, "http://images.example:8000"),
        ({**HOST, "X-Forwarded-Proto": " HTTPS "}, "https://images.example:8000"),
        ({**HOST, "X-Forwarded-Host": 'a"><b>'}, "http://images.example:8000"),
        ({**HOST, "X-Forwarded-Host": "a.example/x?"}, "http://images.example:8000"),
        ({**HOST, "X-Forwarded-Host": "a.example:99999"}, "http://images.example:8000"),
        ({**HOST, "X-Forwarded-Host": "u@a.example"}, "http://images.example:8000"),
        ({**HOST, "X-Forwarded-Port": "70000"}, "http://images.example:8000"),
        ({"Host": "a.example", "X-Forwarded-Port": "8x"}, "http://a.example"),
        ({**HOST, "Forwarded": "proto=https;host=a.example"}, "https://a.example"),
        (
            {**HOST, "Forwarded": 'for="[::1]:5"; host="a.example:8443" ;proto=https, host=b'},
            "https://a.example:8443",
        ),
        ({**HOST, "Forwarded": "proto=gopher;host=a b"}, "http://images.example:8000"),
        ({"Host": "a:b"}, "http://test.org:3000"),
        ({"Host": "a:99999"}, "http://test.org:3000"),
    ],
)
def test_the_base_is_what_the_client_asked(headers: dict[str, str], base: str) -> None:
    request = RequestFactory().get("/v1/models", headers=headers)
    assert public_base(request, Settings()) == base


def test_a_configured_address_wins() -> None:
    request = RequestFactory().get("/", headers={**HOST, "X-Forwarded-Host": "a.example"})
    settings = Settings(public_url="https://pictures.example/base/")
    assert public_base(request, settings) == "https://pictures.example/base"
