"""The rules of the house that no linter knows, and the linters themselves."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.cli.serve import serve
from gateway.settings import fields, variable
from tests import beforehand

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "gateway"
HEAVY = {"torch", "torchvision", "diffusers", "transformers", "peft", "accelerate", "safetensors"}
LIGHT = ("gateway.web", "gateway.runs", "gateway.images", "gateway.engine.protocol")
VAGUE = {"utils", "helpers", "common", "core", "service", "manager", "handler", "base", "misc"}
MAX_LINES = 400

# What a replica's process holds, and its front never imports.
REPLICAS = {"engine.local", "engine.device.heap"}

# What each part may import of the others; the modules beside them (the catalogue, settings, …)
# are open to all but `job` and `errors`.
REACHES = {
    "web": {"runs", "images", "engine.protocol"},
    "runs": {"images", "engine.protocol"},
    "images": set[str](),
    "fronts": {"runs", "images"},
    "engine": set[str](),
    "cluster": {"engine.protocol", "engine.stream", "engine.turns", "engine.forecast"} | REPLICAS,
    "job": {"errors", "remarks"},
    "errors": set[str](),
}
ROOMS = ("device", "weights", "pipelines", "adapters", "forwards", "loading")
"""The engine's, each of which may import those before it; and the sample that passes them all."""

PARTS = set(REACHES) - {"job", "errors"}
JOINERS = {"app", "cli"}


def modules() -> list[Path]:
    """Every Python file of the package."""
    return sorted(PACKAGE.rglob("*.py"))


def dotted(path: Path) -> str:
    """`web.openai` for gateway/web/openai.py."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path) -> Iterator[str]:
    """Every module that a file names in an import, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own(name: str) -> str | None:
    """`web.openai` for `gateway.web.openai`; nothing for what is not the gateway's."""
    return name.removeprefix("gateway.") if name.startswith("gateway.") else None


def may_reach(part: str, name: str) -> bool:
    """Whether a module of `part` may import the gateway's module `name`."""
    target = name.split(".", maxsplit=1)[0]
    if target == part:
        return True
    if part in PARTS and target not in PARTS | JOINERS:
        return True
    return any(name == reach or name.startswith(f"{reach}.") for reach in REACHES[part])


def test_imports_go_one_way() -> None:
    wrong = []
    for path in modules():
        part = dotted(path).split(".")[0]
        names = {name for full in imports(path) if (name := own(full)) and part in REACHES}
        wrong += [f"{dotted(path)} -> {name}" for name in sorted(names) if not may_reach(part, name)
                  and (PACKAGE / name.replace(".", "/")).with_suffix(".py").exists()]
    assert wrong == []


def test_the_direction_would_be_noticed() -> None:
    assert may_reach("web", "engine.protocol")
    assert not may_reach("web", "engine.local")
    assert not may_reach("runs", "web.openai")
    assert not may_reach("engine", "web.openai")
    assert not may_reach("images", "app")


def test_the_engines_rooms_import_one_way() -> None:
    found, wrong = set(), []
    for path in modules():
        _, room, *_ = [*dotted(path).split("."), "", ""]
        if not dotted(path).startswith("engine.") or room not in ROOMS:
            continue
        found.add(room)
        for name in filter(None, map(own, imports(path))):
            part, target, *_ = [*name.split("."), "", ""]
            if part != "engine" or target in ("", "sample", *ROOMS[: ROOMS.index(room) + 1]):
                continue
            wrong.append(f"{dotted(path)} -> {name}")
    assert found == set(ROOMS)
    assert wrong == []


def test_only_the_engine_imports_torch() -> None:
    users = {
        dotted(path).split(".")[0]
        for path in modules()
        if any(name.split(".")[0] in HEAVY for name in imports(path))
    }
    assert users == {"engine"}


def test_only_the_cluster_imports_ray() -> None:
    users = {
        dotted(path)
        for path in modules()
        if any(name.split(".")[0] == "ray" for name in imports(path))
    }
    assert users == {"cluster.actors", "cluster.session"}


def test_a_gateway_of_one_device_and_a_front_of_several_import_no_more_than_they_need() -> None:
    front = "import sys, gateway.cluster.grounds"
    names = front, f"{front}, gateway.cluster.actors"
    for program, heavy in zip(names, (HEAVY | {"ray"}, HEAVY), strict=True):
        check = f"sys.exit(' '.join({heavy!r} & sys.modules.keys()) or 0)"
        done = subprocess.run(
            [sys.executable, "-c", f"{program}; {check}"],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )
        assert done.returncode == 0, done.stderr


def test_only_the_app_and_the_command_line_know_the_real_engine() -> None:
    users = {
        dotted(path).split(".")[0]
        for path in modules()
        if any((own(name) or "").startswith("engine.local") for name in imports(path))
    }
    assert users <= JOINERS | {"cluster"}
    assert users


def test_web_runs_and_images_import_without_torch() -> None:
    names = [
        f"gateway.{name}"
        for path in modules()
        if (name := dotted(path)) and f"gateway.{name}".startswith(LIGHT)
    ]
    assert len(names) > 20
    program = (
        "import importlib, sys\n"
        f"for heavy in {sorted(HEAVY)}: sys.modules[heavy] = None\n"
        f"for name in {names}: importlib.import_module(name)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_package_has_an_empty_init() -> None:
    folders = {path.parent for path in [*modules(), *(ROOT / "tests").rglob("*.py")]}
    folders -= {folder for folder in folders if "recipe" in folder.parts}
    assert [str(folder) for folder in folders if not (folder / "__init__.py").is_file()] == []
    assert [str(folder) for folder in folders if (folder / "__init__.py").read_text().strip()] == []


def test_names_say_what_a_thing_is() -> None:
    assert [dotted(path) for path in modules() if VAGUE & set(path.stem.split("_"))] == []
    folders = {part for path in modules() for part in path.relative_to(ROOT).parent.parts}
    assert VAGUE & folders == set()


def test_files_are_read_in_one_sitting() -> None:
    files = [*modules(), *(ROOT / "tests").rglob("*.py")]
    counted = {path: len(path.read_text().splitlines()) for path in files}
    assert {str(path): lines for path, lines in counted.items() if lines > MAX_LINES} == {}


@pytest.mark.parametrize("field", fields(), ids=lambda field: str(field.name))
def test_every_setting_is_documented(field: object) -> None:
    name = getattr(field, "name", "")
    shown = " ".join(CliRunner().invoke(serve, ["--help"], terminal_width=400).output.split())
    if name != "endpoints":  # the command's arguments
        assert f"--{name.replace('_', '-')}" in shown
        assert variable(name) in shown
    meta = getattr(field, "type", None)
    extra = getattr(meta, "extra_json_schema", None) or {}
    text = extra.get("description", "")
    assert len(text) > 10
    assert name == "endpoints" or " ".join(text.split()) in shown


def test_ci_runs_the_readmes_test_command() -> None:
    blocks = re.findall(r"```sh\n(.*?)\n```", (ROOT / "README.md").read_text(), re.S)
    commands = [block for block in blocks if "pytest" in block]
    assert len(commands) == 1
    assert commands[0] in (ROOT / ".ci" / "run").read_text().splitlines()


def test_the_readme_opens_with_two_commands_and_a_curl() -> None:
    blocks = re.findall(r"```sh\n(.*?)\n```", (ROOT / "README.md").read_text(), re.S)
    serve_it, draw, test_it = blocks[:3]
    assert re.fullmatch(r"python3 -m venv \.venv && .* \.venv/bin/gateway serve", serve_it)
    assert re.fullmatch(r"curl .* -o \S+", draw)
    assert test_it.endswith(".venv/bin/pytest -n 2")
    assert all("\n" not in block for block in (serve_it, draw, test_it))


def test_the_readmes_links_lead_somewhere() -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)]+)\)", (ROOT / "README.md").read_text())
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_no_file_names_a_place_outside_the_project() -> None:
    places = re.compile(r"(?<![\w.-])(/wor[k]/|/opt/g[w]\b|\.\./share[d]|/roo[t]/|/tmp/bas[h])")
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    texts = {name: text for name in listed.stdout.splitlines() if (text := _text(ROOT / name))}
    assert len(texts) > 50
    assert [name for name, text in texts.items() if places.search(text)] == []


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (UnicodeDecodeError, FileNotFoundError):
        return ""


def test_ruff_finds_nothing() -> None:
    command = (Path(sys.executable).with_name("ruff"), "check", ".")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_mypy_finds_nothing() -> None:
    status, said = beforehand.mypy()
    assert status == 0, said
