"""The README's first screen, as a newcomer meets it: the bundled endpoint and one curl."""

import re
import subprocess
from collections.abc import Iterator

import httpx
import pytest

from tests.clients.pictures import opened, same
from tests.programs import program
from tests.serving import ROOT, Server, serving


@pytest.fixture(scope="module")
def bundled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`gateway serve` with nothing named."""
    with serving(tmp_path_factory.mktemp("bundled")) as server:
        yield server


def test_the_readmes_curl_saves_a_picture(
    bundled: Server, tmp_path_factory: pytest.TempPathFactory
) -> None:
    program("curl", package="curl")
    folder = tmp_path_factory.mktemp("newcomer")
    (command,) = re.findall(r"^curl .* -o \S+$", (ROOT / "README.md").read_text(), re.M)[:1]
    asked = command.replace("http://127.0.0.1:8000", bundled.url)
    assert asked != command
    subprocess.run(asked, shell=True, cwd=folder, check=True, capture_output=True, timeout=120)
    (saved,) = folder.iterdir()
    image = opened(saved.read_bytes())
    assert image.format == "PNG"
    assert len(image.convert("RGB").getcolors(2**24) or []) > 100


def test_every_bundled_adapter_draws_its_own_picture(bundled: Server) -> None:
    listed = httpx.get(f"{bundled.url}/v1/models").json()["data"]
    models = [model["id"] for model in listed if model["id"].split(":")[0] == "emoji"]
    assert len(models) >= 3
    pictures = []
    for model in models:
        answer = httpx.post(
            f"{bundled.url}/v1/images/generations", timeout=120,
            json={"model": model, "prompt": "a red apple", "seed": 7},
        )
        assert answer.status_code == 200, answer.text
        pictures.append(opened(answer.json()["data"][0]["b64_json"]))
    for n, picture in enumerate(pictures):
        assert not any(same(picture, other) for other in pictures[n + 1 :])
