"""The servers that the gateway is compared with do what is asked, and stand still when told to."""

import base64
import io
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.benchmarks import workload
from tests.benchmarks.batching import Painter
from tests.benchmarks.processes import Contender

PARENT = (
    "import subprocess, sys\n"
    "child = subprocess.Popen([sys.executable, '-c', 'print(flush=True)\\nwhile True: pass'])\n"
    "child.wait()"
)
FORM = (
    b'--frontier\r\nContent-Disposition: form-data; name="prompt"\r\n\r\na red apple\r\n'
    b'--frontier\r\nContent-Disposition: form-data; name="response_format"\r\n\r\nb64_json\r\n'
    b'--frontier\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n'
    b"Content-Type: image/png\r\n\r\n%b\r\n--frontier--\r\n"
)


@pytest.fixture(scope="module")
def painter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Painter]:
    weights = workload.save(tmp_path_factory.mktemp("weights"))
    for route in workload.ROUTES[3:]:  # each takes most of a second to load
        (workload.adapters_of(weights) / "tiny" / f"{route}.safetensors").unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WEIGHTS", str(weights))
        patch.setenv("ADAPTERS", str(workload.adapters_of(weights)))
        patch.setenv("DEVICE", "cpu")
        yield Painter()


def test_requests_that_are_alike_are_one_call(
    painter: Painter, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    inner = painter._drawn

    def counted(requests: list[dict[str, Any]]) -> list[Image.Image]:
        sizes.append(len(requests))
        return inner(requests)

    monkeypatch.setattr(painter, "_drawn", counted)
    requests = [
        workload.body(0, 1), workload.body(1, 2), workload.body(2, 1),
        workload.body(0, 1, "ink-1"), workload.body(0, 1, "ink-2"),
    ]
    pictures = [pixels(one) for one in painter.forward(requests)]
    assert sizes == [2, 1, 1, 1]
    assert {one.shape for one in pictures} == {(workload.EDGE, workload.EDGE, 3)}
    plain, _, _, *inked = pictures
    assert all(difference(plain, one) > 1 for one in inked)
    again = pixels(painter.forward(requests[:1])[0])
    assert difference(plain, again) <= 1, "an adapter was left in place"


def test_a_form_with_a_picture_is_an_edit(painter: Painter) -> None:
    out = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(out, "png")
    request = painter.deserialize(FORM % out.getvalue())
    assert request["prompt"] == "a red apple"
    [answer] = painter.forward([request])
    edited = base64.b64decode(json.loads(answer)["data"][0]["b64_json"])
    assert pixels(edited).shape == (workload.EDGE, workload.EDGE, 3)


def test_a_contender_that_is_stopped_uses_no_time_with_all_its_processes() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE) as parent:
        contender = Contender("busy", "", parent.pid)
        assert parent.stdout is not None
        parent.stdout.readline()
        busy = wait_for_more(contender, contender.cpu_seconds)
        contender.stop()
        stopped = contender.cpu_seconds
        time.sleep(0.2)
        assert contender.cpu_seconds - stopped <= 0.02
        with contender.awake():
            assert wait_for_more(contender, stopped) > busy
        assert contender.resident_mib > 1
        contender.kill()


def wait_for_more(contender: Contender, used: float) -> float:
    deadline = time.monotonic() + 20
    while (now := contender.cpu_seconds) <= used and time.monotonic() < deadline:
        time.sleep(0.02)
    return now


def pixels(png: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(png))).astype(int)


def difference(one: Any, other: Any) -> int:
    return int(abs(one - other).max())
