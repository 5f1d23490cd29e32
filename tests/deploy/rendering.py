"""The chart rendered by Helm itself, in a process of its own: Helm brings Go's runtime along.

`python -m tests.deploy.rendering CHART < CASES > RESULTS`; both are JSON by the names of cases,
values there, and here what Helm says and makes of them.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import yaml

NAME, NAMESPACE = "image-gateway", "drawing"
NOTES = "NOTES.txt"


class Rendered(msgspec.Struct, frozen=True, kw_only=True):
    """What Helm makes of a chart with some values; `fault` says why it makes nothing."""

    objects: list[dict[str, Any]] = []
    lint: list[str] = []
    notes: str = ""
    fault: str = ""

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The objects of a kind."""
        return [one for one in self.objects if one["kind"] == kind]

    def one(self, kind: str, name: str = NAME) -> dict[str, Any]:
        """The object of a kind and name."""
        (found,) = [one for one in self.of(kind) if one["metadata"]["name"] == name]
        return found


def rendered(chart: Path, cases: dict[str, Any]) -> dict[str, Rendered]:
    """What Helm makes of a chart, by the names of cases."""
    done = subprocess.run(
        [sys.executable, "-m", __name__, str(chart)],
        input=json.dumps(cases), capture_output=True, text=True, check=False,
    )
    assert done.returncode == 0, done.stderr
    return msgspec.json.decode(done.stdout, type=dict[str, Rendered])


def main(chart: str) -> None:
    """Render each of the cases that come in."""
    from helm_python import Chart, HelmError, lint  # noqa: PLC0415

    loaded, results = Chart.load(chart), dict[str, Rendered]()
    for name, values in json.load(sys.stdin).items():
        said = lint(chart, values, strict=True, namespace=NAMESPACE)
        told = [f"{one['path']}: {one['error']}" for one in said["messages"] if one["severity"] > 1]
        try:
            files = loaded.render(values, name=NAME, namespace=NAMESPACE)
        except HelmError as error:
            results[name] = Rendered(lint=told + said["errors"], fault=str(error))
            continue
        documents = (
            document
            for path, text in sorted(files.items())
            if not path.endswith(NOTES)
            for document in yaml.safe_load_all(text)
        )
        results[name] = Rendered(
            objects=[document for document in documents if document],
            lint=told + said["errors"],
            notes=next(text for path, text in files.items() if path.endswith(NOTES)),
        )
    print(msgspec.json.encode(results).decode())


if __name__ == "__main__":
    main(sys.argv[1])
