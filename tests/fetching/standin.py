"""A stand-in for the hub: a real server on loopback that can drop, lie, refuse and count."""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from huggingface_hub import constants

from gateway.fetching import download

COMMIT = "a" * 40
LARGE = (".safetensors", ".bin", ".gguf", ".ckpt")
Files = dict[str, bytes]


class Hub:
    """Repositories by id, and how the server behaves.

    `drops` says after how many bytes of a file each of the next answers ends; `lies` what
    is told of a file's size, `garbled` which files' bytes are not those that were promised.
    `asked` are the requests: method, path, range and authorization. `plain` are contents by
    path that belong to no repository, `moved` paths that lead to others, and `refused` those that
    are answered by a status.
    """

    def __init__(self, repositories: dict[str, Files]) -> None:
        self.repositories = repositories
        self.plain: Files = {}
        self.moved: dict[str, str] = {}
        self.refused: dict[str, int] = {}
        self.drops: dict[str, list[int]] = {}
        self.lies: dict[str, int] = {}
        self.garbled: set[str] = set()
        self.gated: set[str] = set()
        self.token: str | None = None
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.asked: list[tuple[str, str, str | None, str | None]] = []
        self.url = ""
        self.commit = COMMIT

    def fetched(self, name: str = "") -> list[str | None]:
        """The ranges in which a file's bytes were asked for."""
        return [part for method, path, part, _ in self.asked
                if method == "GET" and "/resolve/" in path and path.endswith(name)]  # fmt: skip

    def names_fetched(self) -> set[str]:
        """The files whose bytes were asked for."""
        return {
            path.partition(f"/resolve/{self.commit}/")[2]
            for method, path, _, _ in self.asked
            if method == "GET" and "/resolve/" in path
        }


def point_at(hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have this process take it for the hub, with a cache of its own."""
    place = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", place)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    # Of a connection that drops the client keeps what had come in whole pieces of this size.
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 4096)
    monkeypatch.setattr(download, "PAUSE_SECONDS", 0.01)


def told(name: str, content: bytes, hub: Hub) -> dict[str, Any]:
    """What the hub lists of a file."""
    size = hub.lies.get(name, len(content))
    facts: dict[str, Any] = {"rfilename": name, "size": size, "blobId": etag(name, content)}
    if name.endswith(LARGE):
        sha = hashlib.sha256(content).hexdigest()
        facts["lfs"] = {"size": size, "sha256": sha, "pointerSize": 130}
    return facts


def entry(name: str, content: bytes, hub: Hub) -> dict[str, Any]:
    """The same where it lists what is in folders."""
    facts = told(name, content, hub)
    oid = {"oid": facts["lfs"]["sha256"]} if "lfs" in facts else {}
    lfs = {"lfs": facts["lfs"] | oid} if oid else {}
    return {"type": "file", "path": name, "size": facts["size"], "oid": facts["blobId"]} | lfs


def etag(name: str, content: bytes) -> str:
    kind = hashlib.sha256 if name.endswith(LARGE) else hashlib.sha1
    return kind(content).hexdigest()


@contextmanager
def serving(repositories: dict[str, Files]) -> Iterator[Hub]:
    """A hub that is served while the block runs."""
    hub = Hub(repositories)

    class Handler(Answers):
        def __init__(self, *args: Any) -> None:
            self.hub = hub
            super().__init__(*args)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Answers(BaseHTTPRequestHandler):
    """Answers as the hub does, as far as a download asks."""

    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self) -> None:
        assert self.hub.may_answer.wait(60)
        hub, path = self.hub, unquote(urlsplit(self.path).path)
        hub.asked.append(
            (self.command, self.path, self.headers["Range"], self.headers["Authorization"])
        )
        if path in hub.refused:
            self._refuse(hub.refused[path], "")
            return
        if path in hub.moved:
            self._whole(307, b"", {"Location": hub.moved[path]})
            return
        if path in hub.plain:
            self._send(path, hub.plain[path])
            return
        listing = re.fullmatch(r"/api/models/([^/]+/[^/]+)(/.*)?", path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        found = listing or file
        files = hub.repositories.get(found[1]) if found else None
        if found is None or files is None:
            self._refuse(404, "RepoNotFound")
        elif found[1] in hub.gated and self.headers["Authorization"] != f"Bearer {hub.token}":
            is_open = listing and "auth-check" not in path
            self._list(found[1], files) if is_open else self._refuse(403, "GatedRepo")
        elif listing and str(listing[2]).startswith("/tree/"):
            entries = [entry(*each, self.hub) for each in files.items()]
            self._whole(200, json.dumps(entries).encode())
        elif listing:
            self._list(found[1], files)
        elif file and file[3] in files:
            self._send(file[3], files[file[3]])
        else:
            self._refuse(404, "EntryNotFound")

    def _list(self, id: str, files: Files) -> None:
        siblings = [told(name, content, self.hub) for name, content in files.items()]
        gated = "manual" if id in self.hub.gated else False
        facts = {"id": id, "modelId": id, "gated": gated, "siblings": siblings}
        facts["sha"] = self.hub.commit
        self._whole(200, json.dumps(facts).encode())

    def _refuse(self, status: int, code: str) -> None:
        self._whole(status, b"{}", {"X-Error-Code": code})

    def _whole(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def _piece(self, content: bytes, first: int, last: int) -> None:
        self._whole(206, content[first : last + 1],
                    {"Content-Range": f"bytes {first}-{last}/{len(content)}"})  # fmt: skip

    def _send(self, name: str, content: bytes) -> None:
        hub, start = self.hub, 0
        if (asked := self.headers["Range"]) is not None:
            first, _, last = asked.removeprefix("bytes=").partition("-")
            start = int(first)
            if last:
                self._piece(content, start, int(last))
                return
        if start and start >= len(content):
            self._refuse(416, "")
            return
        self.send_response(206 if start else 200)
        self.send_header("X-Repo-Commit", hub.commit)
        self.send_header("ETag", f'"{etag(name, content)}"')
        self.send_header("Content-Length", str(len(content) - start))
        if name in hub.lies:
            self.send_header("X-Linked-Size", str(hub.lies[name]))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if self.command != "GET":
            return
        body = (b"?" * len(content) if name in hub.garbled else content)[start:]
        drops = hub.drops.get(name)
        if drops:
            self.wfile.write(body[: drops.pop(0)])
            self.close_connection = True
            self.connection.shutdown(2)
        else:
            self.wfile.write(body)
