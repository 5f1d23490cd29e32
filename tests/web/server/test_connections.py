"""Slow, silent, broken and too many peers: each is bounded, and nobody else notices."""

import asyncio
import fcntl
import http.client
import json
import logging
import re
import socket
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from gateway.web.server.descriptors import connections_within
from gateway.web.server.pace import MIN_BYTES_PER_SECOND, Pace
from tests.web.server.listening import Listening, listening, wait_until

HOST = b"Host: localhost\r\n"
LIVE = b"GET /health/live HTTP/1.1\r\n" + HOST
ASK = b"POST /v1/images/generations HTTP/1.1\r\nContent-Type: application/json\r\n" + HOST
MAX_CONNECTIONS = 16


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listening]:
    data = tmp_path_factory.mktemp("data")
    with listening(data, max_connections=MAX_CONNECTIONS, max_body_mib=1) as place:
        yield place


@pytest.fixture(autouse=True)
def no_traceback(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Whatever a peer does, it is no fault of ours."""
    yield
    assert [
        record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR
    ] == []


def posted(asked: dict[str, object], headers: bytes = b"") -> bytes:
    """A whole request for pictures."""
    body = json.dumps(asked).encode()
    return ASK + headers + b"Content-Length: %d\r\n\r\n" % len(body) + body


def is_alive(place: Listening) -> bool:
    """Whether an ordinary client is answered at once."""
    return httpx.get(f"{place.url}/health/live", timeout=5).status_code == 200


def paths(place: Listening) -> list[str]:
    """Every path that answers GET without a parameter."""
    return sorted(
        route.path
        for route in place.app.routes
        if "{" not in route.path and "GET" in getattr(route, "methods", ())
    )


def test_head_leaves_the_connection_as_get_does(place: Listening) -> None:
    asked = [*paths(place), "/none", "/v1/images/generations"]
    assert len(asked) > 15
    link = http.client.HTTPConnection("127.0.0.1", place.port)
    link.connect()
    kept = link.sock
    for path in asked:
        link.request("HEAD", path)
        answer = link.getresponse()
        assert (answer.read(), answer.status != 500) == (b"", True), path
        link.request("GET", "/health/live")
        assert link.getresponse().read() == b'{"status":"ok"}', path
        assert link.sock is kept, path
    link.close()


def test_a_body_in_very_many_chunks_leaves_turns_to_others(place: Listening) -> None:
    asked = json.dumps({"prompt": "a" * 30_000, "size": "64x64"}).encode()
    chunks = b"".join(b"1\r\n%c\r\n" % sign for sign in asked)

    async def fed() -> float:
        (connection,) = place.server.hall.connections
        began = time.thread_time()
        connection.data_received(chunks)
        return time.thread_time() - began

    with place.link(ASK + b"Transfer-Encoding: chunked\r\n\r\n") as link:
        wait_until(lambda: place.num_connections == 1)
        assert asyncio.run_coroutine_threadsafe(fed(), place.loop).result() < 0.08
        link.send(b"0\r\n\r\n" + LIVE + b"\r\n")
        assert link.read_until(b"\r\n").startswith(b"HTTP/1.1 200")
        assert link.read_until(b'{"status":"ok"}')


def test_threads_at_work_let_the_event_loop_on_soon(place: Listening) -> None:
    assert sys.getswitchinterval() == pytest.approx(0.001)


def test_what_a_reader_leaves_lying_does_not_fill_the_kernel(place: Listening) -> None:
    form = {"file": ("large", bytes(2**23))}
    kept = httpx.post(f"{place.url}/v1/files", files=form, data={"purpose": "user_data"}).json()
    asked = f"GET /v1/files/{kept['id']}/content HTTP/1.1\r\n".encode() + HOST + b"\r\n"
    with place.link(asked, receive_bytes=4096):
        wait_until(lambda: any(one.write_paused for one in place.server.hall.connections))
        (reader,) = [one for one in place.server.hall.connections if one.write_paused]
        left = fcntl.ioctl(reader.transport.get_extra_info("socket"), termios.TIOCOUTQ, bytes(4))
        assert int.from_bytes(left, sys.byteorder) < 2**19


def test_a_head_that_does_not_come_is_not_waited_for(place: Listening) -> None:
    with place.link(LIVE + b"X-Slow: ") as half, place.link() as silent:
        wait_until(lambda: place.num_connections >= 2)
        place.pass_seconds(15)
        half.send(b"1")
        assert is_alive(place)
        place.pass_seconds(25)
        assert half.read_all().startswith(b"HTTP/1.1 408 ")
        assert silent.read_all() == b""


def test_a_kept_connection_may_rest_and_then_has_to_ask(place: Listening) -> None:
    with place.link(LIVE + b"\r\n") as link:
        link.read_until(b"}")
        place.pass_seconds(40)
        link.send(LIVE + b"\r\n")
        assert b"200 OK" in link.read_until(b"}")
        link.send(b"GET")
        wait_until(lambda: is_alive(place))
        place.pass_seconds(25)
        assert b"408" in link.read_all()


def test_a_body_after_a_long_rest_has_its_time(place: Listening) -> None:
    with place.link(LIVE + b"\r\n") as link:
        link.read_until(b"}")
        place.pass_seconds(60)
        whole = posted({"prompt": "a cat"})
        link.send(whole[:-5])
        wait_until(lambda: bool(place.server.server_state.tasks))
        place.pass_seconds(20)
        link.send(whole[-5:])
        assert b"200 OK" in link.read_until(b"]")


@pytest.mark.parametrize(
    ("framing", "drop"),
    [(b"Content-Length: 1000\r\n", b" "), (b"Transfer-Encoding: chunked\r\n", b"1\r\n \r\n")],
)
def test_a_body_that_drips_is_not_waited_for(place: Listening, framing: bytes, drop: bytes) -> None:
    with place.link(ASK + framing + b"\r\n" + drop) as link:
        wait_until(lambda: place.num_connections >= 1)
        assert is_alive(place)
        place.pass_seconds(20)
        link.send(drop)
        assert is_alive(place)  # and the drop is read: what we left lying would be our slowness
        place.pass_seconds(40)
        answer = link.read_all()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "request_timeout"


def test_a_body_may_be_slow_while_it_comes() -> None:
    pace, moved = Pace(30, now=0), 0
    for now in range(65536):
        assert not pace.has_stalled(now, moved)
        moved += MIN_BYTES_PER_SECOND
    assert moved == 64 * 2**20
    assert pace.has_stalled(65536 + 60, moved)


def test_an_answer_before_its_body_is_not_followed_for_ever(place: Listening) -> None:
    head = b"POST /none HTTP/1.1\r\nContent-Length: 100000000\r\n" + HOST + b"\r\n"
    with place.link(head) as link:
        assert b"404 Not Found" in link.read_until(b"}}")
        place.pass_seconds(40)
        assert link.read_all() == b""


def test_who_asks_before_sending_is_told(place: Listening) -> None:
    expects = b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    with place.link(ASK + expects) as link:
        assert link.read_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        link.send(b"{}")
        assert b"400 Bad Request" in link.read_until(b"}}")
        link.send(LIVE + b"\r\n")
        assert b"200 OK" in link.read_until(b"}")
    with place.link(b"POST /none HTTP/1.1\r\n" + HOST + expects) as link:
        assert link.read_all().startswith(b"HTTP/1.1 404 ")


def test_an_answer_that_nobody_takes_is_let_go(place: Listening) -> None:
    wait_until(lambda: place.num_connections == 0)
    asked = {"prompt": "a", "response_format": "raw", "size": "256x256", "n": 10}
    with place.link(receive_bytes=4096) as link:
        for _ in range(5):
            link.send(posted(asked))
        wait_until(lambda: place.num_connections == 1)
        (connection,) = place.server.hall.connections
        wait_until(lambda: connection.write_paused)
        place.pass_seconds(0)
        assert place.num_connections == 1
        place.pass_seconds(40)
        wait_until(lambda: place.num_connections == 0)


def test_a_flood_of_half_requests_displaces_itself(place: Listening) -> None:
    links = [place.link(LIVE) for _ in range(3 * MAX_CONNECTIONS)]
    wait_until(lambda: place.num_connections == MAX_CONNECTIONS)
    assert is_alive(place)
    assert links[0].read_all() == b""
    links[-1].send(b"\r\n")
    assert b"200 OK" in links[-1].read_until(b"}")
    for link in links:
        link.socket.close()
    wait_until(lambda: place.num_connections == 0)


def test_more_requests_than_places_are_turned_away_in_words(place: Listening) -> None:
    whole = posted({"prompt": "slow", "num_inference_steps": 8})
    num_places = MAX_CONNECTIONS - MAX_CONNECTIONS // 8
    links = [place.link(whole) for _ in range(num_places)]
    wait_until(lambda: place.engine.num_running == num_places)
    with httpx.Client(base_url=place.url) as client:
        refused = client.get("/v1/models")
        assert client.get("/health/live").status_code == 200
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.json()["error"]["code"] == "server_is_overloaded"
    for link in links:
        link.socket.close()
    wait_until(lambda: place.num_connections == 0)
    assert is_alive(place)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x00\r\n\r\n", 400),
        (b"GET /health/live\r\n\r\n", 400),
        (b"GET /health/live HTTP/1.1\r\n\r\n", 400),
        (b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (LIVE + b"A\x00B: 1\r\n\r\n", 400),
        (LIVE + b"Host: other\r\n\r\n", 400),
        (ASK + b"Content-Length: -1\r\n\r\n", 400),
        (ASK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (ASK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}", 400),
        (ASK + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 501),
        (LIVE + b"X: " + b"x" * 200_000, 431),
        (b"GET /" + b"x" * 200_000, 431),
        (ASK + b"Transfer-Encoding: chunked\r\n\r\n1;" + b"x" * 200_000, 431),
    ],
)
def test_bytes_that_are_no_http_are_answered_as_such(
    place: Listening, sent: bytes, status: int
) -> None:
    with place.link(sent) as link:
        answer = link.read_all()
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert is_alive(place)


def test_a_chunk_that_is_none_after_the_answer_began_ends_the_connection(place: Listening) -> None:
    head = b"POST /none HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" + HOST + b"\r\n"
    with place.link(head) as link:
        link.read_until(b"}}")
        link.send(b"zz\r\n")
        assert link.read_all() == b""


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /health/live HTTP/1.0\r\n\r\n",
        b"GET http://localhost/health/live HTTP/1.1\r\n" + HOST + b"\r\n",
        b"\r\n\r\n" + LIVE + b"\r\n",
        LIVE + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    ],
)
def test_old_and_odd_requests_are_answered(place: Listening, sent: bytes) -> None:
    with place.link(sent) as link:
        assert b'{"status":"ok"}' in link.read_until(b"}")


STREAM = b"\r\n" + posted({"prompt": "a"}) + b"\r\n\n\r\n" + LIVE + b"\r\n\r\n"


@pytest.mark.parametrize("length", [1, 2, 3, 64])
def test_bytes_are_the_same_in_whatever_pieces_they_come(place: Listening, length: int) -> None:
    with place.link() as link:
        link.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(STREAM), length):
            link.send(STREAM[start : start + length])
            time.sleep(0.0002)  # so that pieces arrive as such
        assert b'"data":[' in link.read_until(b'{"status":"ok"}')
    assert is_alive(place)


@pytest.mark.parametrize("sent", [b"\r\n", b"\n", b"\r", b"\r\n\r\n"])
def test_an_empty_line_alone_is_nothing(place: Listening, sent: bytes) -> None:
    with place.link(sent) as link:
        assert is_alive(place)
        link.send(LIVE + b"\r\n")
        assert b'{"status":"ok"}' in link.read_until(b"}")


def test_an_offer_of_another_protocol_costs_no_body(place: Listening) -> None:
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n"
    with place.link(posted({"prompt": "a cat"}, upgrade)) as link:
        assert b"200 OK" in link.read_until(b"}]")


def test_requests_sent_ahead_are_answered_in_their_order(place: Listening) -> None:
    asked = [b"GET /none/%d HTTP/1.1\r\n" % number + HOST + b"\r\n" for number in range(500)]
    with place.link(b"".join(asked) + b"GET /last HTTP/1.0\r\n\r\n") as link:
        answered = link.read_all()
    named = [int(number) for number in re.findall(rb"/none/(\d+)", answered)]
    assert named == list(range(500))
    assert b"/last" in answered


def test_a_body_broken_off_is_no_fault_of_the_server(place: Listening) -> None:
    with place.link(ASK + b"Content-Length: 1000\r\n\r\n{"):
        wait_until(lambda: place.num_connections == 1)
    wait_until(lambda: place.num_connections == 0)
    recent = httpx.get(f"{place.url}/status.json").json()["recent"]
    assert recent[0]["status"] == 499


def test_connections_leave_descriptors_for_the_rest() -> None:
    assert connections_within(65536, 4096) == 4096
    assert connections_within(1024, 4096) == 768
    assert connections_within(256, 4096) == 128
    assert connections_within(8, 4096) == 4


def test_the_soft_limit_of_descriptors_is_raised() -> None:
    program = (
        "import resource as r; from gateway.web.server.descriptors import raise_limit\n"
        "r.setrlimit(r.RLIMIT_NOFILE, (64, 4000))\n"
        "print(raise_limit(), r.getrlimit(r.RLIMIT_NOFILE), raise_limit())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout == b"4000 (4000, 4000) 4000\n"


def test_a_standard_stream_that_is_closed_is_not_given_to_a_file() -> None:
    program = (
        "import os; from gateway.web.server.descriptors import hold_standard_streams\n"
        "hold_standard_streams()\n"
        "os.write(1, str(os.open('/dev/null', 0) > 2 and os.fstat(2).st_rdev).encode())"
    )
    command = f'exec "{sys.executable}" -c "{program}" 2>&- <&-'
    done = subprocess.run(["sh", "-c", command], capture_output=True, check=True)
    assert int(done.stdout) == Path("/dev/null").stat().st_rdev
