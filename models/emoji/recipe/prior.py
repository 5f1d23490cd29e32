"""The prior: layers on top of the text encoder that say, as a code, what is to be drawn.

MiniLM's own layers stay as they are, and with them what they know of words: a pony is close
to a horse before anything is learned here. The prior reads the mean of its states and begins
as two memories: the first layer's is the classifier, a hidden unit per subject; the second's
has the codes. What lies between two subjects is no picture, so they learn to decide: between
any two prompts, too, the answer is one subject's code. Which colour belongs to what, a mean does
not tell: that is `binding.py`'s.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from autoencoder import EXPORTED as EXPORTED_VAE
from autoencoder import new_autoencoder
from classifier import train_classifier
from codes import STATE, SUBJECT, read_codes, states
from compose import Drawings
from evaluate import Prompts, prompt_lists, retrieval
from nouns import read_nouns
from subjects import fetch, read_subjects
from text_encoder import Prior, Reader, is_trained, read_prior
from torch import Tensor
from training import begin, log, restore, train
from words import Asker

NUM_PROMPTS = 160_000
HAZE = 0.1
"""The length of the noise that is added to prompts' sentence embeddings, which have length 1."""
SHARPNESS, RECALL = 2.0, 4.0
SURE, THRESHOLD = 6.0, 0.5
"""From which logit, and from which cosine, the memories answer that the layers begin as."""


class Lessons:
    """Sentence embeddings, and what is to be said of each."""

    def __init__(self, work: Path, device: torch.device) -> None:
        self.device = device
        folders = fetch(work)
        self.subjects = read_subjects(folders)
        self.reader = Reader(device)
        self.classifier = train_classifier(self.subjects, self.reader)
        vae = new_autoencoder().to(device).eval()
        restore(vae, work / "autoencoder.safetensors", EXPORTED_VAE)
        self.codes = read_codes(Drawings(work, device), vae)
        nouns = read_nouns(folders["nouns"], self.subjects, self.reader)
        wished = Asker(self.subjects, nouns).wishes(NUM_PROMPTS)
        things = {thing: place for place, thing in enumerate(dict.fromkeys(wished.things))}
        places = torch.tensor([things[thing] for thing in wished.things])
        self._things = self.reader.sentences(list(things))
        self._taken = self.classifier(self._things).argmax(1)
        self._meant = self._taken.clone()
        self._meant[places[wished.known]] = wished.index[wished.known].to(device)
        wished = replace(wished, index=self._meant.cpu()[places])
        self._prompts = self.reader.sentences(wished.prompts).half()
        self._index = wished.index.to(device)
        self._colours = states(self.codes, wished)[:, SUBJECT:].clone()

    def batch(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Sentence embeddings and wanted states `[count, 384]`, subjects `[count]`.

        Half are of prompts, the others of what may lie between two things.
        """
        chosen = torch.randint(len(self._prompts), (count // 2,), device=self.device)
        prompts = self._prompts[chosen].float()
        between, taken = self._between(count - len(chosen))
        index = torch.cat([self._index[chosen], taken])
        colours = F.pad(self._colours[chosen], (0, 0, 0, len(taken)))
        read = torch.cat([prompts + HAZE * _noise(prompts), between])
        return read, torch.cat([self.codes[index], colours], 1), index

    def _between(self, count: int) -> tuple[Tensor, Tensor]:
        """Sentence embeddings nearer to one thing than to another, and subjects for them.

        Where the classifier takes them for what it takes the nearer thing for, it is that
        thing's subject, which may be better known.
        """
        one, other = torch.randint(len(self._things), (2, count), device=self.device)
        share, haze = torch.rand(2, count, 1, device=self.device)
        mixed = self._things[one] + share * self._things[other]
        mixed = F.normalize(mixed + 0.5 * haze * _noise(mixed), dim=1)
        taken = self.classifier(mixed).argmax(1)
        return mixed, torch.where(taken == self._taken[one], self._meant[one], taken)


def train_prior(work: Path, minutes: float, device: torch.device) -> None:
    """Train, or train on, for a number of minutes."""
    begin()
    lessons = Lessons(work, device)
    prior, codes = read_prior(work).to(device), lessons.codes
    if not is_trained(work):
        _remember(prior, lessons)
    lists = prompt_lists(lessons.subjects)
    samples = recalling(work, "prior", lessons.reader, codes, lists)

    def losses(_progress: float) -> Tensor:
        read, wanted, index = lessons.batch(1024)
        with torch.autocast(device.type, torch.bfloat16):
            said = prior.say(read).float()
        doubt = F.cross_entropy(20 * likeness(said, codes), index)
        return _distance(said, wanted) + 0.3 * doubt

    train("prior", prior, losses, work=work, minutes=minutes, learning_rate=1e-3, samples=samples)


def _remember(prior: Prior, lessons: Lessons) -> None:
    """Let both layers begin as memories: a hidden unit per subject, which answers to it alone.

    The first's units are the classifier's, for what its attention passes on is a
    sentence embedding of length √384. They answer with directions by lot, which lie farther
    apart than codes do; to these the second layer's units listen, and answer with codes.
    """
    length, read = STATE**0.5, lessons.classifier
    codes = F.normalize(F.pad(lessons.codes, (0, STATE - SUBJECT)), dim=1)
    lots = F.normalize(torch.randn_like(codes), dim=1)
    cosine = torch.full((len(codes),), -THRESHOLD * length, device=codes.device)
    for layer, keys, bias, answers in (
        (prior.layers[1], read.keys / length, read.bias - SURE, lots),
        (prior.layers[2], lots, cosine, codes),
    ):
        into, out = layer.intermediate.dense, layer.output.dense
        with torch.no_grad():
            into.weight[: len(codes)] = SHARPNESS * keys
            into.bias[: len(codes)] = SHARPNESS * bias
            out.weight[:, : len(codes)] = RECALL * answers.T


def _distance(said: Tensor, wanted: Tensor) -> Tensor:
    """Squared errors of subject and colours, each by its own mean; a colour is seen at once."""
    error = (said - wanted).square()
    return error[:, :SUBJECT].mean() + 8 * error[:, SUBJECT:].mean()


def _noise(like: Tensor) -> Tensor:
    """Noise whose length is nearly 1."""
    return torch.randn_like(like) / like.shape[1] ** 0.5


def recalling(
    work: Path,
    stage: str,
    reader: Reader,
    codes: Tensor,
    lists: dict[str, Prompts],
    **measures: Callable[[Prior], object],
) -> Callable[[dict[str, Tensor], int], None]:
    """What logs how averaged weights do by the measures, and retrieve what lists ask for."""
    read = {name: reader.words([text for text, _, _ in those]) for name, those in lists.items()}

    def samples(weights: dict[str, Tensor], step: int) -> None:
        averaged = read_prior(work).to(reader.device).eval()
        averaged.load_state_dict(weights)
        found = {name: measure(averaged) for name, measure in measures.items()}
        for name, those in lists.items():
            found[name] = _retrieved(averaged, *read[name], codes, those)
        log(work, stage=stage, step=step, **found)

    return samples


@torch.no_grad()
def _retrieved(prior: Prior, read: Tensor, mask: Tensor, codes: Tensor, prompts: Prompts) -> dict:
    """How often the code said for a prompt is nearest to an answer's, and how near to any."""
    near, ranked = likeness(prior(read, mask).mean(1), codes).topk(5)
    found = retrieval(ranked.tolist(), prompts)
    return found | {"cosine": round(float(near[:, 0].mean()), 3)}


def likeness(said: Tensor, codes: Tensor) -> Tensor:
    """Cosines `[batch, N]` of states and all codes."""
    return F.normalize(said[:, :SUBJECT], dim=1) @ F.normalize(codes, dim=1).T
