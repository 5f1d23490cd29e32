"""The documentation as a site: `python deploy/site/build.py FOLDER`.

Its pages are the Markdown files that lie beside the code, at the same paths, so that a link
works here and there; which of them are pages, and in what order, `zensical.toml` says. The
pages of `reference/` are written by the code.
"""

import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from functools import cache
from os.path import relpath
from pathlib import Path

import reference

from gateway.telemetry.log import quiet_libraries

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CONFIG = "zensical.toml"
README = "README.md"
LABEL = r"(?:[^\[\]]|!?\[[^\]]*\](?:\([^)]*\))?)*"
LINK = re.compile(rf"(!?)\[({LABEL})\]\((?!https?:|mailto:|#)([^)\s]+)\)")
WRITTEN = {
    "reference/api.md": reference.api,
    "reference/settings.md": reference.settings,
    "reference/cards.md": reference.card_fields,
}


class BrokenLink(Exception):
    """A page links to what is not there."""


def main(target: Path) -> None:
    """Build the site into a folder, which is made anew.

    Raises:
        BrokenLink: a page links to a file that does not exist.
        CalledProcessError: a link between pages, or to a heading, leads nowhere.
    """
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        shutil.copy(HERE / CONFIG, work)
        pages = work / "pages"
        for path in paged():
            text = WRITTEN[path]() if path in WRITTEN else gathered(path, pages)
            (pages / path).parent.mkdir(parents=True, exist_ok=True)
            (pages / path).write_text(text)
        command = [Path(sys.executable).with_name("zensical"), "build", "--strict"]
        subprocess.run(command, cwd=work, check=True)
        shutil.rmtree(target, ignore_errors=True)
        shutil.move(work / "site", target)


@cache
def paged() -> list[str]:
    """The files that are pages, in order."""
    config = tomllib.loads((HERE / CONFIG).read_text())
    return list(_leaves(config["project"]["nav"]))


def _leaves(entry: object) -> Iterator[str]:
    match entry:
        case str():
            yield entry
        case list():
            for each in entry:
                yield from _leaves(each)
        case dict():
            yield from _leaves(list(entry.values()))


def gathered(path: str, pages: Path) -> str:
    """A page as it lies beside the code; pictures come along, a link to code is its name alone.

    Raises:
        BrokenLink: it links to what is not there.
    """
    known, here = set(paged()), (ROOT / path).parent

    def linked(found: re.Match[str]) -> str:
        label = LINK.sub(linked, found[2])
        place, mark, heading = found[3].partition("#")
        if not (here / place).exists():
            raise BrokenLink(f"{path}: {place}")
        there = (here / place).resolve().relative_to(ROOT)
        if found[1]:
            (pages / there).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / there, pages / there)
            return found[0]
        page = there / README if (ROOT / there).is_dir() else there
        if str(page) not in known:
            return label
        return f"[{label}]({relpath(ROOT / page, here)}{mark}{heading})"

    return LINK.sub(linked, (ROOT / path).read_text())


if __name__ == "__main__":
    quiet_libraries()
    main(Path(sys.argv[1]))
