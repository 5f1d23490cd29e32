"""Meanings: which subject is meant by words that no list of keywords has.

A linear classifier on MiniLM's sentence embeddings learns names and keywords in seconds, and
what it makes of unknown words is sensible, for words of one meaning lie close together. It
matches WordNet's nouns and definitions to subjects. Prior and denoiser learn from these too,
and have then met far more words than the icons' own.
"""

import json
import random
from pathlib import Path

import torch
import torch.nn.functional as F
from subjects import Subject, fetch, read_nouns
from text_encoder import Reader
from torch import Tensor
from words import Asker

NUM_NOUNS = 40_000
NUM_ASKED = 16
MAX_WORDS = 7
NUM_STEPS = 400
LEARNING_RATE = 0.02
FIRM = 10.0
"""How long keys are at first."""


def read_meanings(work: Path, subjects: list[Subject], reader: Reader) -> list[list[str]]:
    """Further words for every subject, some for none; made where there are none."""
    path = work / "meanings.json"
    if not path.exists():
        nouns = [text for text in read_nouns(fetch(work)) if len(text.split()) <= MAX_WORDS]
        nouns = random.Random(0).sample(sorted(set(nouns)), NUM_NOUNS)
        meant = classifier(subjects, reader)(sentences(reader, nouns)).argmax(1).tolist()
        found: list[list[str]] = [[] for _ in subjects]
        for noun, index in zip(nouns, meant, strict=True):
            found[index].append(noun)
        path.write_text(json.dumps(found))
    meanings: list[list[str]] = json.loads(path.read_text())
    return meanings


class Classifier(torch.nn.Module):
    """Logits `[batch, N]` of all subjects for sentence embeddings `[batch, 384]`."""

    def __init__(self, keys: Tensor) -> None:
        super().__init__()
        self.keys = torch.nn.Parameter(FIRM * F.normalize(keys, dim=1))
        self.bias = torch.nn.Parameter(torch.zeros(len(keys), device=keys.device))

    def forward(self, read: Tensor) -> Tensor:
        """How likely each subject is meant."""
        return read @ self.keys.T + self.bias


def classifier(subjects: list[Subject], reader: Reader) -> Classifier:
    """A classifier trained on names and keywords, with noise."""
    asker = Asker(subjects)
    index = torch.arange(len(subjects)).repeat_interleave(NUM_ASKED)
    read = sentences(reader, [asker.thing(int(i)) for i in index])
    index = index.to(reader.device)
    keys = torch.zeros(len(subjects), read.shape[1], device=reader.device)
    model = Classifier(keys.index_add(0, index, read))
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, NUM_STEPS)
    for _ in range(NUM_STEPS):
        chosen = torch.randint(len(read), (256,), device=reader.device)
        noise = torch.randn_like(read[chosen]) / read.shape[1] ** 0.5
        F.cross_entropy(model(read[chosen] + noise), index[chosen]).backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    return model.requires_grad_(False)


def sentences(reader: Reader, texts: list[str]) -> Tensor:
    """all-MiniLM-L6-v2's sentence embeddings `[N, 384]`: the normalised means of its states."""
    found = []
    for start in range(0, len(texts), 128):
        states, mask = reader.words(texts[start : start + 128])
        found.append(F.normalize((states.float() * mask[..., None]).sum(1), dim=1))
    return torch.cat(found)
