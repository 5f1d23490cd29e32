"""The prior: layers on top of the text encoder that say, as a code, what is to be drawn.

MiniLM's own layers stay as they are, and with them what they know of words: a pony is
close to a horse before anything is learned here. The first layer on top of them begins as the
classifier's copy and learns to say a code, and the background. Where it wavers between several
subjects, what lies between them is no picture: the second layer settles on the nearest.
"""

from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from autoencoder import EXPORTED as EXPORTED_VAE
from autoencoder import new_autoencoder
from classifier import sentences, train_classifier
from codes import STATE, SUBJECT, of_length, read_codes, states
from compose import Drawings
from evaluate import Prompts, percent, prompt_lists
from subjects import fetch, read_nouns, read_subjects
from text_encoder import NUM_TOKENS, Prior, Reader, hidden, is_trained, read_prior
from torch import Tensor
from training import begin, log, restore, train
from words import Asker

NUM_PREPARED = 12_288
SHARPNESS, RECALL = 2.0, 4.0
SURE, THRESHOLD = 6.0, 0.5
"""From which logit, and from which cosine, the memories answer that the layers begin as."""
FIRST = 0.6
"""How much of the time is the first layer's; the second learns from what it says then."""
RENEWED = 8
"""One in so many of a batch's prompts is new, the others have served before."""


class Lessons:
    """Prompts as MiniLM reads them, and what is to be said of each."""

    def __init__(self, work: Path, device: torch.device) -> None:
        self.device = device
        folders = fetch(work)
        self.subjects = read_subjects(folders)
        self.reader = Reader(device)
        self.asker = Asker(self.subjects, read_nouns(folders))
        self.classifier = train_classifier(self.subjects, self.reader)
        vae = new_autoencoder().to(device).eval()
        restore(vae, work / "autoencoder.safetensors", EXPORTED_VAE)
        self.codes = read_codes(Drawings(work, device), vae)
        self._read = torch.empty(NUM_PREPARED, NUM_TOKENS, STATE, dtype=torch.half, device=device)
        self._mask = torch.empty(NUM_PREPARED, NUM_TOKENS, dtype=torch.bool, device=device)
        self._wanted = torch.empty(NUM_PREPARED, STATE, device=device)
        self._index = torch.empty(NUM_PREPARED, dtype=torch.long, device=device)
        self._said: Tensor | None = None
        self._num_added = 0

    def batch(self, count: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Read states `[count, 20, 384]`, masks, wanted states `[count, 384]`, subjects."""
        while self._num_added < NUM_PREPARED:
            self._add(128)
        self._add(count // RENEWED)
        chosen = torch.randint(NUM_PREPARED, (count,), device=self.device)
        read, mask = self._read[chosen].float(), self._mask[chosen]
        return read, mask, self._wanted[chosen], self._index[chosen]

    @torch.no_grad()
    def wavering(self, prior: Prior, count: int) -> tuple[Tensor, Tensor]:
        """States `[count, 384]` that may lie between subjects, and backgrounds `[count, 4]`.

        Half of them are what the first layer, then trained, says.
        """
        if self._said is None:
            parts = torch.arange(NUM_PREPARED, device=self.device).split(128)
            said = (prior.layers[0](self._read[i].float(), hidden(self._mask[i])) for i in parts)
            self._said = torch.cat([tokens.mean(1) for tokens in said])
        chosen = torch.randint(NUM_PREPARED, (count // 2,), device=self.device)
        blends = _blends(self.codes, count // 2)
        background = torch.cat([self._wanted[chosen, SUBJECT:], blends[:, SUBJECT:]])
        return torch.cat([self._said[chosen], blends]), background

    def _add(self, count: int) -> None:
        """Read prompts in place of the oldest."""
        places = torch.arange(self._num_added, self._num_added + count) % NUM_PREPARED
        wished = self.asker.wishes(count)
        meant = self.classifier(sentences(self.reader, wished.things)).argmax(1).cpu()
        wished = replace(wished, index=torch.where(wished.by_name, wished.index, meant))
        read, self._mask[places] = self.reader.words(wished.prompts)
        self._read[places] = read.half()
        self._index[places] = wished.index.to(self.device)
        self._wanted[places] = states(self.codes, wished)
        self._num_added += count


def train_prior(work: Path, minutes: float, device: torch.device) -> None:
    """Train, or train on, for a number of minutes."""
    begin()
    lessons = Lessons(work, device)
    prior, codes = read_prior(work).to(device), lessons.codes
    if not is_trained(work):
        _remember(prior, lessons)
    lists = {
        name: (lessons.reader.words([text for text, _, _ in prompts]), prompts)
        for name, prompts in prompt_lists(lessons.subjects).items()
    }

    def losses(progress: float) -> Tensor:
        if progress < FIRST:
            read, mask, wanted, index = lessons.batch(64)
            with torch.autocast(device.type, torch.bfloat16):
                said = prior.layers[0](read, hidden(mask)).float()
            return _distance(said, wanted[:, None]) + 0.3 * _doubt(said.mean(1), index, codes)
        wavering, background = lessons.wavering(prior, 1024)
        nearest = _likeness(wavering, codes).argmax(1)
        with torch.autocast(device.type, torch.bfloat16):
            settled = prior.layers[1](wavering[:, None])[:, 0].float()
        meant = torch.cat([codes[nearest], background], 1)
        return _distance(settled, meant) + 0.3 * _doubt(settled, nearest, codes)

    def samples(weights: dict[str, Tensor], step: int) -> None:
        averaged = read_prior(work).to(device).eval()
        averaged.load_state_dict(weights)
        found = {
            name: _retrieved(averaged, *read, codes, prompts)
            for name, (read, prompts) in lists.items()
        }
        log(work, stage="prior", step=step, **found)

    train("prior", prior, losses, work=work, minutes=minutes, learning_rate=5e-4, samples=samples)


def _remember(prior: Prior, lessons: Lessons) -> None:
    """Let both layers begin as memories: a hidden unit per subject, which answers to it alone.

    The first layer's units are the classifier's, for what its attention passes on is nearly a
    sentence embedding of length √384; the second's answer to codes.
    """
    length, read = STATE**0.5, lessons.classifier
    codes = F.normalize(F.pad(lessons.codes, (0, STATE - SUBJECT)), dim=1)
    cosine = torch.full((len(codes),), -THRESHOLD * length, device=codes.device)
    for layer, keys, bias in (
        (prior.layers[0], read.keys / length, read.bias - SURE),
        (prior.layers[1], codes, cosine),
    ):
        into, out = layer.intermediate.dense, layer.output.dense
        with torch.no_grad():
            into.weight[: len(codes)] = SHARPNESS * keys
            into.bias[: len(codes)] = SHARPNESS * bias
            out.weight[:, : len(codes)] = RECALL * codes.T


def _distance(said: Tensor, wanted: Tensor) -> Tensor:
    """Squared errors of subject and background, each by its own mean; a colour is seen at once."""
    error = (said - wanted).square()
    return error[..., :SUBJECT].mean() + 8 * error[..., SUBJECT:].mean()


def _doubt(said: Tensor, index: Tensor, codes: Tensor) -> Tensor:
    """Cross-entropy of the subjects' likenesses."""
    return F.cross_entropy(20 * _likeness(said, codes), index)


def _blends(codes: Tensor, count: int) -> Tensor:
    """States `[count, 384]` between several subjects, on some background."""
    shares = torch.rand(4, count, 1, device=codes.device) * torch.tensor(
        [1.0, 0.7, 0.4, 0.4], device=codes.device
    ).view(4, 1, 1)
    mixed = (shares * codes[torch.randint(len(codes), (4, count), device=codes.device)]).sum(0)
    mixed = mixed + 0.3 * torch.rand_like(mixed[:, :1]) * torch.randn_like(mixed)
    background = 4 * torch.rand(count, STATE - SUBJECT, device=codes.device) - 2
    return torch.cat([of_length(mixed), background], 1)


@torch.no_grad()
def _retrieved(prior: Prior, read: Tensor, mask: Tensor, codes: Tensor, prompts: Prompts) -> dict:
    """How often the code said for a prompt is nearest to an answer's, in percent."""
    best = _likeness(prior(read, mask).mean(1), codes).topk(5).indices.tolist()
    answers = [answers for _, answers, _ in prompts]
    first = sum(found[0] in right for found, right in zip(best, answers, strict=True))
    five = sum(bool(right & {*found}) for found, right in zip(best, answers, strict=True))
    return {"top-1": percent(first, len(best)), "top-5": percent(five, len(best))}


def _likeness(said: Tensor, codes: Tensor) -> Tensor:
    """Cosines `[batch, N]` of states and all codes."""
    return F.normalize(said[:, :SUBJECT], dim=1) @ F.normalize(codes, dim=1).T
