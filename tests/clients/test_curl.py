"""curl, as the README uses it, against a gateway on a socket."""

import shlex
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.clients.pictures import opened, same
from tests.programs import program
from tests.serving import COMMAND, ENVIRONMENT, ROOT, Server, free_port

BODY = '{"model": "tiny", "prompt": "a red apple", "seed": 7}'


def curl(server: Server, path: str, *options: str) -> str:
    """Run curl with the server's key and return what it printed."""
    command = [program("curl", package="curl"), "--silent", "--show-error", "--max-time", "60"]
    key = ["--header", f"Authorization: Bearer {server.key}"]
    done = subprocess.run(
        [*command, *key, *options, server.url + path],
        capture_output=True, text=True, check=True,
    )
    return done.stdout


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_accept_gets_the_picture_itself(server: Server, tmp_path: Path, kind: str) -> None:
    output = tmp_path / "apple"
    curl(
        server, "/v1/images/generations", "--header", f"Accept: image/{kind}",
        "--header", "Content-Type: application/json", "--data", BODY, "--output", str(output),
    )
    assert opened(output.read_bytes()).format == kind.upper()


def test_trailing_slashes_versions_and_other_keys(server: Server) -> None:
    json = ("--header", "Content-Type: application/json", "--data", BODY)
    status = ("--output", "-", "--write-out", "\n%{http_code}")
    for path in ("/v1/images/generations/", "/images/generations?api-version=2026-01-01"):
        assert curl(server, path, *json, *status).endswith("\n200")
    answer = httpx.post(
        f"{server.url}/v1/images/generations", content=BODY, timeout=60,
        headers={"api-key": server.key, "content-type": "application/json"},
    )
    assert answer.status_code == 200


def test_urls_are_for_anyone_who_has_them(server: Server) -> None:
    url = picture_url(server)
    head, got = httpx.head(url), httpx.get(url)
    assert (head.status_code, got.status_code) == (200, 200)
    assert head.headers["content-type"] == got.headers["content-type"] == "image/png"
    assert int(head.headers["content-length"]) == len(got.content)
    assert head.content == b""
    assert opened(got.content).size == (64, 64)


@pytest.mark.parametrize("change", ["signature=", "expires=1", "name"])
def test_forged_urls_lead_nowhere(server: Server, change: str) -> None:
    url = picture_url(server)
    forged = {
        "signature=": url[:-4] + ("0000" if url[-4:] != "0000" else "1111"),
        "expires=1": url.replace("expires=", "expires=1"),
        "name": url.replace("/files/", "/files/../"),
    }[change]
    assert forged != url
    assert httpx.get(forged).status_code == 404


def picture_url(server: Server) -> str:
    """The URL of a new picture."""
    answer = httpx.post(
        f"{server.url}/v1/images/generations",
        json={"model": "tiny", "prompt": "a red apple", "response_format": "url"},
        headers={"Authorization": f"Bearer {server.key or 'any'}"}, timeout=60,
    )
    url: str = answer.json()["data"][0]["url"]
    return url


def test_preflights_of_browsers_are_answered(server: Server) -> None:
    asked = "authorization,content-type,x-stainless-lang"
    answer = httpx.options(
        f"{server.url}/v1/images/generations",
        headers={"Origin": "http://app.test", "Access-Control-Request-Method": "POST",
                 "Access-Control-Request-Headers": asked},
    )
    assert answer.status_code == 204
    allowed = {name.strip() for name in answer.headers["access-control-allow-headers"].split(",")}
    assert set(asked.split(",")) <= {name.lower() for name in allowed}
    assert answer.headers["access-control-allow-origin"] in ("*", "http://app.test")


def test_a_receipt_makes_the_picture_again(
    server: Server, models: tuple[str, ...], tmp_path: Path
) -> None:
    """`gateway generate --from` needs only the PNG and the same catalogue."""
    made, again = tmp_path / "made.png", tmp_path / "again.png"
    curl(
        server, "/v1/images/generations", "--header", "Accept: image/png",
        "--header", "Content-Type: application/json",
        "--data", BODY.replace("tiny", "tiny:ink"), "--output", str(made),
    )
    folders = models[models.index("--models") : models.index("--aliases")]
    told = run_gateway(
        "generate", "--from", str(made), "-o", str(again), "--data", str(tmp_path), *folders
    )
    assert same(opened(made.read_bytes()), opened(again.read_bytes()))
    assert "differs" not in told


def test_the_command_line_draws_without_a_server(
    models: tuple[str, ...], tmp_path: Path
) -> None:
    output = tmp_path / "apple.png"
    folders = models[models.index("--models") : models.index("--aliases")]
    command = "generate 'a red apple' --model tiny:ink --steps 4 --seed 7 --size 64x64"
    run_gateway(*shlex.split(command), "-o", str(output), "--data", str(tmp_path), *folders)
    assert opened(output.read_bytes()).size == (64, 64)


def run_gateway(*arguments: str) -> str:
    """Run the command line and return what it told its reader."""
    done = subprocess.run(
        [*COMMAND, *arguments], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True,
        timeout=120, check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_a_door_to_the_network_stays_shut_without_keys(tmp_path: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "serve", "--host", "0.0.0.0", "--port", str(free_port()),
         "--data", str(tmp_path)],
        cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("gateway: --host 0.0.0.0")
    assert "Traceback" not in done.stderr
