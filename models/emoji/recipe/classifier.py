"""The classifier: which subject is meant by words that no list of keywords has.

It is linear in MiniLM's sentence embeddings and learns names and keywords in seconds; what it
makes of unknown words is sensible, for words of one meaning lie close together. The prior
begins as its copy, and learns from it what thousands of nouns are closest to.
"""

import torch
import torch.nn.functional as F
from subjects import Subject
from text_encoder import Reader
from torch import Tensor
from words import Asker

NUM_ASKED = 16
NUM_STEPS = 400
LEARNING_RATE = 0.02
FIRM = 10.0
"""How long keys are at first."""


class Classifier(torch.nn.Module):
    """Logits `[batch, N]` of all subjects for sentence embeddings `[batch, 384]`."""

    def __init__(self, keys: Tensor) -> None:
        super().__init__()
        self.keys = torch.nn.Parameter(FIRM * F.normalize(keys, dim=1))
        self.bias = torch.nn.Parameter(torch.zeros(len(keys), device=keys.device))

    def forward(self, read: Tensor) -> Tensor:
        """How likely each subject is meant."""
        return read @ self.keys.T + self.bias


def train_classifier(subjects: list[Subject], reader: Reader) -> Classifier:
    """A classifier of names and keywords; noise keeps it from learning them by heart."""
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
