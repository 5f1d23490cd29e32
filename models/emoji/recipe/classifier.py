"""The classifier: which subject is meant by words that no list of keywords has.

It is linear in MiniLM's sentence embeddings and learns names and keywords in seconds; what it
makes of unknown words is sensible, for words of one meaning lie close together. The prior
begins as its copy, and learns from it what thousands of nouns are closest to.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from subjects import Subject
from text_encoder import Reader
from torch import Tensor
from words import Asker

NUM_FITS = 5
NUM_ASKED = 16
NUM_STEPS = 400
LEARNING_RATE = 0.02
FIRM = 10.0
"""How long keys are at first."""


@dataclass(frozen=True)
class Classifier:
    """Keys `[N, 384]` and biases `[N]` of all subjects."""

    keys: Tensor
    bias: Tensor

    def __call__(self, read: Tensor) -> Tensor:
        """Logits `[batch, N]` for sentence embeddings `[batch, 384]`."""
        return read @ self.keys.T + self.bias


def train_classifier(subjects: list[Subject], reader: Reader) -> Classifier:
    """A classifier of names and keywords: the mean of several, which errs less than each."""
    fits = [_fit(subjects, reader) for _ in range(NUM_FITS)]
    return Classifier(
        torch.stack([fit.keys for fit in fits]).mean(0).detach(),
        torch.stack([fit.bias for fit in fits]).mean(0).detach(),
    )


def _fit(subjects: list[Subject], reader: Reader) -> Classifier:
    """A classifier of some of what subjects are called; noise keeps it from learning by heart."""
    asker = Asker(subjects)
    index = torch.arange(len(subjects)).repeat_interleave(NUM_ASKED)
    read = reader.sentences([asker.thing(int(i)) for i in index])
    index = index.to(reader.device)
    sums = torch.zeros(len(subjects), read.shape[1], device=reader.device)
    keys = (FIRM * F.normalize(sums.index_add(0, index, read), dim=1)).requires_grad_()
    bias = torch.zeros(len(subjects), device=reader.device, requires_grad=True)
    fitted = Classifier(keys, bias)
    optimizer = torch.optim.Adam([keys, bias], lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, NUM_STEPS)
    for _ in range(NUM_STEPS):
        chosen = torch.randint(len(read), (256,), device=reader.device)
        noise = torch.randn_like(read[chosen]) / read.shape[1] ** 0.5
        F.cross_entropy(fitted(read[chosen] + noise), index[chosen]).backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    return fitted
