"""Pages of strangers in the user's own browser get nothing done at a gateway without keys."""

import functools
import http.server
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.web.pages.browsing import generate, open_page

REFUSED = {400, 403, 421}

SENT = """async (gateway) => {
  const graph = { model_id: 'emoji', inputs: { prompt: 'a stolen cat' } };
  const drawing = { prompt: 'a stolen cat', model: 'emoji' };
  const form = new FormData();
  form.append('purpose', 'batch');
  form.append('file', new Blob(['{}']), 'lines.jsonl');
  const send = (path, how) => fetch(gateway + path, how).then(() => {}, () => {});
  const post = (path, body, more) => send(path, { method: 'POST', mode: 'no-cors', body, ...more });
  const json = { mode: 'cors', headers: { 'Content-Type': 'application/json' } };
  const text = JSON.stringify(drawing);
  await post('/v1/images/generations', text);
  await post('/v1/images/generations', new Blob([text]));
  await post('/v1/images/generations', text, json);
  await post('/v1/images/edits', form);
  await post('/api/run/queue', JSON.stringify(graph));
  await post('/api/run/queue', new URLSearchParams(graph));
  await post('/v1/files', form);
  await post('/v1/batches/batch_1/cancel', null, { credentials: 'include' });
  navigator.sendBeacon(gateway + '/api/run/queue', JSON.stringify(graph));
  await send('/v1/models', {});
  await send('/status.json', { mode: 'no-cors' });
  await send('/api/upload-url?type=image/png', { mode: 'no-cors', referrerPolicy: 'no-referrer' });
}"""

PLACED = """async (gateway) => {
  const ended = (thing) => new Promise((end) => { thing.onload = thing.onerror = end; });
  for (const [tag, path] of [['img', '/status.json'], ['script', '/v1/models'],
                             ['iframe', '/v1/files'], ['embed', '/api/run/1']]) {
    const thing = document.createElement(tag);
    const end = ended(thing);
    thing.src = gateway + path;
    document.body.append(thing);
    await end;
  }
  const events = new EventSource(gateway + '/api/run/1/stream');
  await ended(events);
  events.close();
  for (const type of ['text/plain', 'multipart/form-data', 'application/x-www-form-urlencoded']) {
    const form = document.createElement('form');
    const frame = document.createElement('iframe');
    frame.name = 'target' + type;
    document.body.append(frame, form);
    Object.assign(form, { method: 'POST', action: gateway + '/v1/images/generations',
                          enctype: type, target: frame.name });
    const field = document.createElement('input');
    Object.assign(field, { name: '{"prompt": "a stolen cat", "user": "', value: '"}' });
    form.append(field);
    const end = ended(frame);
    form.submit();
    await end;
  }
}"""


@pytest.fixture(scope="module")
def stranger() -> Iterator[int]:
    """The port of a server of empty pages on this machine, whatever name it is asked by."""
    page = functools.partial(Empty, directory="/nowhere")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), page) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


class Empty(http.server.SimpleHTTPRequestHandler):
    """Answers every path with a page that holds nothing."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>stranger</title><body>")

    def log_message(self, format: str, *args: object) -> None:
        pass


def answers_to(page: Page, gateway: str) -> dict[tuple[str, str], int]:
    """The status of every answer that the gateway gives to what a page sends from now on."""
    statuses: dict[tuple[str, str], int] = {}

    def heard(method: str, url: str, status: int) -> None:
        if url.startswith(gateway):
            statuses[method, urlsplit(url).path] = status

    page.on("response", lambda said: heard(said.request.method, said.url, said.status))
    return statuses


def works_since(gateway: str, began: float) -> list[dict[str, Any]]:
    """The requests for work that the gateway has taken since a time."""
    recent = httpx.get(f"{gateway}/status.json").json()["recent"]
    assert any(asked["began"] >= began for asked in recent)
    return [asked for asked in recent if asked["began"] >= began and asked["status"] < 400]


@pytest.mark.parametrize("name", ["stranger.test", "localhost", "127.0.0.1"])
def test_a_page_of_another_origin_gets_nothing_done(
    browser: Browser, gateway: str, stranger: int, name: str
) -> None:
    """Another site, and other ports of this machine: the same site, but another origin."""
    began = time.time()
    page = browser.new_page()
    page.goto(f"http://{name}:{stranger}/")
    statuses = answers_to(page, gateway)
    page.evaluate(SENT, gateway)
    page.evaluate(PLACED, gateway)
    page.close()
    assert {key: status for key, status in statuses.items() if status not in REFUSED} == {}
    assert {method for method, _ in statuses} >= {"GET", "POST"}
    assert len(statuses) >= 9, statuses
    assert works_since(gateway, began) == []
    assert httpx.get(f"{gateway}/v1/files").json()["data"] == []


def test_a_page_without_an_origin_gets_nothing_done(
    browser: Browser, gateway: str, stranger: int
) -> None:
    """A sandboxed frame sends `Origin: null`."""
    began = time.time()
    page = browser.new_page()
    page.goto(f"http://localhost:{stranger}/")
    statuses = answers_to(page, gateway)
    page.set_content("<iframe sandbox=allow-scripts src=/inner></iframe>")
    inner = page.frames[-1]
    inner.wait_for_url("**/inner")
    assert inner.evaluate("origin") == "null"
    inner.evaluate(SENT, gateway)
    page.close()
    assert statuses
    assert set(statuses.values()) <= REFUSED
    assert works_since(gateway, began) == []


def test_a_name_that_was_rebound_to_this_machine_gets_nothing_done(
    browser: Browser, gateway: str
) -> None:
    """The page's own name leads to the gateway by now, so all it asks is of its own origin."""
    began = time.time()
    rebound = f"http://stranger.test:{urlsplit(gateway).port}"
    page = browser.new_page()
    page.goto(f"{rebound}/schema/openapi.json")
    statuses = answers_to(page, rebound)
    page.evaluate(SENT, rebound)
    page.close()
    assert statuses
    assert set(statuses.values()) == {421}
    assert works_since(gateway, began) == []


def test_the_gateways_own_page_works_by_every_name_of_loopback(
    browser: Browser, gateway: str
) -> None:
    with open_page(browser, f"{gateway.replace('127.0.0.1', 'localhost')}/") as page:
        generate(page, "a red apple")
        page.get_by_role("link", name="Status").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Ready")
