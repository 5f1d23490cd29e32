"""Which colour belongs to what: looked up in single words, on top of what the prior says.

The mean that the prior reads hardly tells `a yellow duck on blue` from `a blue duck on yellow`.
So MiniLM's last layer learns to tell a colour's word what it is the colour of, four heads of the
layer after it learn to look for such words, and the hidden units which no subject needs learn
what these tell of the colours of thing and background. All else stays as it is, nearly so the
means of states, and with them the code that is said for a subject: but for keywords that are
taken for an odd one of the subjects which share them.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from autoencoder import EXPORTED as EXPORTED_VAE
from autoencoder import new_autoencoder
from codes import SUBJECT, paint_states, read_codes
from coloured import read_colour_prompts
from compose import COLOUR_NAMES, Drawings
from evaluate import prompt_lists
from nouns import read_nouns, read_synonyms
from pictures import nearest_colour, percent
from prior import likeness, recalling
from shared import read_shared
from subjects import Subject, fetch, read_subjects
from text_encoder import NUM_LOOKING, Prior, Reader, mean_state, read_prior
from torch import Tensor, nn
from training import begin, is_first, restore, save_weights, train
from words import Asker, called

NUM_PROMPTS = 60_000
MAX_WORDS = 2
"""Nouns of more words are explanations, which nobody gives a colour to."""
BATCH = 128
HAZE = 0.05
"""The length of the noise that is added to prompts, as a share of their own."""
COLOURS, CODES, MEANS = 8.0, 2.0, 1.0
"""What errors of the colours weigh, changes of the codes, and of the means of states."""
LEARNING_RATE = 1e-3


def train_binding(work: Path, minutes: float, device: torch.device) -> None:
    """Train, or train on, for a number of minutes."""
    begin()
    folders = fetch(work)
    subjects = read_subjects(folders)
    reader, told = Reader(device), read_prior(work).to(device).eval()
    codes = _codes(work, device)
    length = float(reader.texts([subject.name for subject in subjects]).means.norm(dim=1).mean())

    def taken(sentences: Tensor) -> Tensor:
        return likeness(told.say(length * sentences), codes).argmax(1)

    with torch.no_grad():
        shared = read_shared(subjects, reader, codes, read_synonyms(folders["nouns"]), taken)
    nouns = {
        noun: kind
        for noun, kind in read_nouns(folders["nouns"], subjects, reader).items()
        if len(noun.split()) <= MAX_WORDS
    }
    wished = Asker(subjects, nouns, shared, is_brief=True).wishes(NUM_PROMPTS)
    prompts = reader.texts(wished.prompts)
    colours = paint_states(wished).to(device)
    kinds = {name: kind for word, kind in shared.items() for name in called(word)}
    meant = torch.tensor([kinds.get(thing, -1) for thing in wished.things], device=device)
    subject = _said_of_subjects(told, prompts.means)
    subject[meant >= 0] = codes[meant[meant >= 0]]
    prior = read_prior(work).to(device)
    prior.look(prompts.means)
    _leave_subjects(prior, len(subjects))
    lists = prompt_lists(subjects) | {"shared": [(w, {k}, None) for w, k in shared.items()]}
    right = colours_right(reader, subjects)
    batches = prompts.batches(BATCH)

    def losses(_progress: float) -> Tensor:
        chosen = next(batches)
        states, mask = prompts.padded(chosen)
        haze = HAZE * length * torch.randn_like(states[:, :1]) / states.shape[2] ** 0.5
        chosen = chosen.to(device)
        with torch.autocast(device.type, torch.bfloat16):
            heard = prior.hear(states + haze, mask)
            said = prior.together(heard, mask).float()
        amiss = (said[:, SUBJECT:] - colours[chosen]).square().mean()
        changed = (said[:, :SUBJECT] - subject[chosen]).square().mean()
        moved = (mean_state(heard.float(), mask) - prompts.means[chosen]).square().sum(1).mean()
        return COLOURS * amiss + CODES * changed + MEANS * moved / length**2

    weights = train(
        "prior-colours",
        prior,
        losses,
        work=work,
        minutes=minutes,
        learning_rate=LEARNING_RATE,
        samples=recalling(work, "colours", reader, codes, lists, right=right),
    )
    if is_first():
        save_weights(work / "prior.safetensors", weights)


def _codes(work: Path, device: torch.device) -> Tensor:
    vae = new_autoencoder().to(device).eval()
    restore(vae, work / "autoencoder.safetensors", EXPORTED_VAE)
    return read_codes(Drawings(work, device), vae)


@torch.no_grad()
def _said_of_subjects(prior: Prior, means: Tensor) -> Tensor:
    """The codes `[N, 376]` that a prior says of means of states."""
    with torch.autocast(means.device.type, torch.bfloat16):
        return torch.cat([prior.say(part)[:, :SUBJECT].float() for part in means.split(1024)])


def colours_right(
    reader: Reader, subjects: list[Subject]
) -> Callable[[Prior], dict[str, float]]:
    """What tells how often the colours said of thing and background are those named, in percent."""
    prompts = read_colour_prompts(subjects)
    read = reader.words([prompt.text for prompt in prompts])

    @torch.no_grad()
    def measure(prior: Prior) -> dict[str, float]:
        said = prior(*read).mean(1)[:, SUBJECT:].float().cpu()
        heard = [tuple(map(_heard, numbers.split(4))) for numbers in said]
        pairs = list(zip(heard, prompts, strict=True))
        return {
            "thing": percent([paint == prompt.paint for (paint, _), prompt in pairs]),
            "background": percent([ground == prompt.ground for (_, ground), prompt in pairs]),
        }

    return measure


def _heard(numbers: Tensor) -> str | None:
    """The colour that four numbers name, if any."""
    return COLOUR_NAMES[nearest_colour(numbers[:3] / 4 + 0.5)] if numbers[3] > 1 else None


def _leave_subjects(prior: Prior, num_subjects: int) -> None:
    """Hold what says subjects: MiniLM's last layer learns, and heads and units they leave free."""
    prior.requires_grad_(False)
    hearing, *layers, _ = prior.layers
    hearing.requires_grad_()
    attention = layers[0].attention
    looking = -NUM_LOOKING * attention.self.attention_head_size
    rows = [attention.self.query.bias, attention.self.key.weight, attention.self.value.weight]
    for weight in rows:
        learn(weight, slice(looking, None))
    learn(attention.output.dense.weight, (slice(None), slice(looking, None)))
    for layer in layers:
        learn(layer.intermediate.dense.weight, slice(num_subjects, None))
        learn(layer.intermediate.dense.bias, slice(num_subjects, None))
        learn(layer.output.dense.weight, (slice(None), slice(num_subjects, None)))
    learn(layers[-1].output.dense.bias, slice(SUBJECT, None))


def learn(weight: nn.Parameter, part: slice | tuple[slice, slice]) -> None:
    """Let a part of a weight learn, and no other part of it."""
    mask = torch.zeros_like(weight)
    mask[part] = 1
    weight.requires_grad_()
    weight.register_hook(lambda gradient: gradient * mask)
