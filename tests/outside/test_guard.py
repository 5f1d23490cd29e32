"""Which URLs may be asked. Forbidden addresses are judged here, and never asked for anything."""

import ipaddress

import pytest

from gateway.outside.guard import MAX_URL_CHARACTERS, Guard, UrlRefused
from gateway.outside.networks import CLOSED, closed_as

FORBIDDEN = """
0.0.0.0 0.255.255.255 10.0.0.0 10.255.255.255 100.64.0.0 100.100.100.200 100.127.255.255
127.0.0.1 127.255.255.255 169.254.169.254 169.254.170.2 172.16.0.0 172.31.255.255
192.0.0.0 192.0.0.8 192.0.0.9 192.0.0.10 192.0.0.170 192.0.0.192 192.0.2.1 192.31.196.1
192.52.193.1 192.88.99.1 192.168.0.1 192.175.48.1 198.18.0.0 198.19.255.255 198.51.100.1
203.0.113.1 224.0.0.1 239.255.255.255 240.0.0.0 255.255.255.254 255.255.255.255 168.63.129.16
:: ::1 ::2 ::7f00:1 ::8.8.8.8 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:0:127.0.0.1
::ffff:0:8.8.8.8 64:ff9b::127.0.0.1 64:ff9b::169.254.169.254 64:ff9b:1::1 64:ff9b:1::8.8.8.8
64:ff9b:2::1 100::1 100:0:0:1::1 2001::1 2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:1::1
2001:1::2 2001:2::1 2001:3::1 2001:4:112::1 2001:10::1 2001:20::1 2001:30::1 2001:1ff:ffff::1
2001:db8::1 2002:7f00:1:: 2002:a00:1::1 2002:a9fe:a9fe::1 2002:a83f:8110::1 2620:4f:8000::1
3fff::1 3fff:fff:ffff::1 4000::1 5f00::1 8000::1 fbff::1 fc00::1 fd00:ec2::254 fdff::1
fe80::1 fe80::a9fe:a9fe febf::1 fec0::1 feff::1 ff02::1 ff0e::1
2a00:1450::5efe:127.0.0.1 2a00:1450::200:5efe:10.0.0.1
"""

PUBLIC = """
1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.1
169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 168.63.129.15 168.63.129.17 191.255.255.255
192.0.1.0 192.0.3.0 192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0 203.0.112.255
203.0.114.0 223.255.255.255
::ffff:8.8.8.8 64:ff9b::8.8.8.8 2000::1 2001:200::1 2001:4860:4860::8888 2001:db9::1
2002:808:808::1 2003::1 2606:4700::1111 2620:4f:8001::1 2a00:1450::1 2a00:1450::5efe:8.8.8.8
3ffe::1 3fff:1000::1
"""


@pytest.fixture(autouse=True)
def nothing_is_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(*asked: object, **_: object) -> None:
        raise AssertionError(f"{asked} was looked up")

    monkeypatch.setattr("socket.getaddrinfo", resolve)


def url_of(address: str) -> str:
    return f"http://[{address}]/" if ":" in address else f"https://{address}:8443/"


@pytest.mark.parametrize("address", FORBIDDEN.split())
def test_what_is_not_the_public_internet_is_refused(address: str) -> None:
    assert closed_as(ipaddress.ip_address(address))
    with pytest.raises(UrlRefused, match="not a public address"):
        Guard().check_url(url_of(address))


@pytest.mark.parametrize("address", PUBLIC.split())
def test_what_lies_beside_it_is_not(address: str) -> None:
    assert closed_as(ipaddress.ip_address(address)) is None
    Guard().check_url(url_of(address))


def test_the_table_needs_no_python_to_know_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in (ipaddress.IPv4Address, ipaddress.IPv6Address):
        monkeypatch.setattr(kind, "is_global", True)
    addresses = [ipaddress.ip_address(address) for address in FORBIDDEN.split()]
    assert [str(address) for address in addresses if not closed_as(address)] == []


def test_a_newer_python_is_believed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ipaddress.IPv4Address, "is_global", False)
    assert closed_as(ipaddress.ip_address("8.8.8.8")) == "reserved"


def test_both_ends_of_every_network_are_closed() -> None:
    assert len(CLOSED) > 30
    ends = [end for network, _ in CLOSED for end in (network[0], network[-1])]
    assert [str(end) for end in ends if closed_as(end) is None] == []


@pytest.mark.parametrize(
    "url",
    [
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0X7F.1/",
        "http://017700000001/",
        "http://0177.0.0.1/",
        "http://127.1/",
        "http://127.0.1/",
        "http://0/",
        "http://127.0.0.1./",
        "http://2852039166/latest/meta-data/",
        "http://１２７.０.０.１/",
        "http://127。0。0。1/",
        "http://127．0．0．1/",
        "http://%31%32%37.0.0.1/",
        "http://①②⑦.0.0.1/",
        "http://localhost/",
        "http://LOCALHOST/",
        "http://localhost./",
        "http://a.localhost/",
        "http://A.b.LocalHost.:80/",
        "http://ｌｏｃａｌｈｏｓｔ/",
        "http://[0:0:0:0:0:0:0:1]/",
        "http://[::ffff:7f00:1]/",
        "http://[fe80::1%25eth0]/",
        "http://[fe80::1%eth0]/",
        "http://[2a00:1450::1%25lo]/",
        "http://[::1",
        "http://[::1]x/",
        "http://[v1.x]/",
        "http://8.8.8.8@127.0.0.1/",
        "http://a@b@127.0.0.1/",
        "http://8.8.8.8:80@127.0.0.1/",
        "http://127.0.0.1\\@8.8.8.8/",
        "http://8.8.8.8\\@127.0.0.1/",
        "http:\\\\127.0.0.1\\",
        "http://127.0.0.1#@8.8.8.8/",
        "http://127.0.0.1?@8.8.8.8/",
        "http://127.0.0.1\x00.example/",
        "http://127.0.0.1%00.example/",
        "http://example.com\r\n/",
        "http://exa\tmple.com/",
        "http://exa mple.com/",
        " http://example.com/",
        "http://example.com:0/",
        "http://example.com:65536/",
        "http://example.com:-1/",
        "http://example.com:80:80/",
        "http://1.2.3.4.5/",
        "http://256.1.1.1/",
        "http://example.1/",
        "http://0x/",
        "http://a..b/",
        "http://.example.com/",
        "http://-example.com/",
        f"http://{'a' * 64}.com/",
        "http:///path",
        "http://",
        "http:127.0.0.1",
        "//example.com/",
        "example.com",
        "no url",
        "",
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://example.com/",
        "data:image/png;base64,",
        "http://example.com/" + "a" * MAX_URL_CHARACTERS,
        "http://\ud800/",
    ],
)
def test_no_spelling_is_a_way_around(url: str) -> None:
    with pytest.raises(UrlRefused):
        Guard().check_url(url)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://hooks.example.com/a?b=c#d", b"hooks.example.com"),
        ("HTTP://Example.COM:8080", b"example.com"),
        ("http://user:password@example.com/", b"example.com"),
        ("http://example.com./a picture.png", b"example.com."),
        ("http://münchen.de/straße", b"xn--mnchen-3ya.de"),
        ("http://my_service.example.com/", b"my_service.example.com"),
        ("http://intranet/", b"intranet"),
        ("http://134744072/", b"134744072"),
        ("http://8.8.8.8:1/", b"8.8.8.8"),
        ("http://7.example.com:65535/", b"7.example.com"),
    ],
)
def test_what_may_be_asked_is_read_as_it_will_be(url: str, host: bytes) -> None:
    assert Guard().check_url(url).raw_host == host


@pytest.mark.parametrize(
    ("allow", "url"),
    [
        ("10.0.0.0/8", "http://10.1.2.3/"),
        ("127.0.0.1", "http://127.1/"),
        ("localhost", "http://LOCALHOST./"),
        ("Inside.localhost.", "http://inside.localhost/"),
        ("::1", "http://[::1]/"),
        ("fd00::/8", "http://[fd00:ec2::254]/"),
    ],
)
def test_what_is_allowed_may_be_asked(allow: str, url: str) -> None:
    Guard((allow,)).check_url(url)


def test_allowing_one_allows_no_other() -> None:
    for url in ("http://10.0.0.1/", "http://127.0.0.2/", "http://outside.localhost/"):
        with pytest.raises(UrlRefused):
            Guard(("10.0.0.2", "127.0.0.3", "inside.localhost")).check_url(url)
