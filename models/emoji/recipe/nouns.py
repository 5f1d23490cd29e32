"""WordNet's nouns for what can be drawn, and the subjects that some of them are kinds of."""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from subjects import Subject
from text_encoder import Reader

DRAWABLE = {"05", "06", "08", "13", "17", "18", "19", "20"}
"""WordNet's files on animals, artifacts, bodies, food, objects, people, phenomena, plants."""
MAX_WORDS = 7
MAX_PIECES = 2
"""Nouns that the tokenizer breaks into more pieces a word are too rare to learn."""
MAX_STEPS = 2
"""How far above a noun its subject may be: a bulldog is two steps from a dog."""
MAX_KINDS = 300
"""What has more kinds than this is too general a word for one picture, as construction is."""


@dataclass(frozen=True)
class _Meaning:
    """One meaning of some words: the meanings it is a kind of, and what a dictionary says."""

    words: set[str]
    above: list[str]
    explained: str


def read_nouns(folder: Path, subjects: list[Subject], reader: Reader) -> dict[str, int | None]:
    """Nouns and short explanations of nouns, each with the subject it is a kind of, if any.

    Keywords have none: what people call an emoji is heeded before what a dictionary says,
    where a bike is a motorcycle.
    """
    meanings = _read_meanings(folder / "dict" / "data.noun")
    words = _read_words(folder / "dict" / "index.noun", meanings)
    subject_of = {words[s.name]: i for i, s in enumerate(subjects) if s.name in words}
    kinds = {key: _kind(key, meanings, subject_of) for key in meanings}
    num_kinds = Counter(kinds.values())
    general = {subject for subject, count in num_kinds.items() if count > MAX_KINDS}
    keywords = {word for subject in subjects for word in subject.keywords}
    named = {meaning.explained: key for key, meaning in meanings.items()} | words
    return {
        text: None if kinds[key] in general or text in keywords else kinds[key]
        for text, key in sorted(named.items())
        if text.isascii() and 0 < len(text.split()) <= MAX_WORDS
        if reader.num_pieces(text) <= MAX_PIECES * len(text.split())
    }


def read_synonyms(folder: Path) -> dict[str, set[str]]:
    """Words for what can be drawn, each with all that share its most frequent meaning."""
    meanings = _read_meanings(folder / "dict" / "data.noun")
    words = _read_words(folder / "dict" / "index.noun", meanings)
    return {word: meanings[key].words for word, key in words.items()}


def _read_meanings(path: Path) -> dict[str, _Meaning]:
    """Drawable meanings by their key; the format is wndb(5WN)'s."""
    found = {}
    for line in path.read_text().splitlines():
        described, _, gloss = line.partition(" | ")
        fields = described.split()
        if line.startswith(" ") or fields[1] not in DRAWABLE:
            continue
        end = 4 + 2 * int(fields[3], 16)
        words = {word.replace("_", " ").lower() for word in fields[4:end:2]}
        pointers = fields[end + 1 :]
        above = [pointers[i + 1] for i in range(0, len(pointers), 4) if pointers[i][0] == "@"]
        explained = re.sub(r"\(.*?\)", "", gloss.partition(";")[0]).strip()
        found[fields[0]] = _Meaning(words, above, explained)
    return found


def _read_words(path: Path, meanings: dict[str, _Meaning]) -> dict[str, str]:
    """The most frequent of each word's drawable meanings."""
    found = {}
    for line in path.read_text().splitlines():
        fields = line.split()
        if not line.startswith(" "):
            keys = [key for key in fields[-int(fields[2]) :] if key in meanings]
            found.update({fields[0].replace("_", " "): key for key in keys[:1]})
    return found


def _kind(key: str, meanings: dict[str, _Meaning], subject_of: dict[str, int]) -> int | None:
    """The subject of a meaning, or else of the nearest one above it."""
    level = [key]
    for _ in range(MAX_STEPS + 1):
        for reached in level:
            if reached in subject_of:
                return subject_of[reached]
        level = [up for one in level if one in meanings for up in meanings[one].above]
    return None
