"""The last layer decides: where the prior says a blend of subjects, it says the nearest one.

Words that no lesson had make the prior say something between two codes, and that is drawn as
neither. Which code is nearest is a matter of codes alone. So this layer learns from blends of
codes by lot, half of them of kin, and forgets no word doing so. Then what no subject needs of it
learns from the prior's own words, too, to leave colours as they are.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from autoencoder import EXPORTED as EXPORTED_VAE
from autoencoder import new_autoencoder
from binding import colours_right, learn
from codes import STATE, SUBJECT, of_length, paint_states, read_codes
from compose import Drawings, random_colours
from evaluate import prompt_lists
from nouns import read_nouns
from paint import Paint
from prior import likeness, recalling
from subjects import fetch, read_subjects
from text_encoder import Prior, Reader, read_prior
from torch import Tensor
from training import begin, is_first, restore, save_weights, train
from words import Asker, Wishes

NUM_PROMPTS = 10_000
BATCH = 512
NUM_KIN = 8
"""A blend is of a subject and some of so many others that look most like it, or of any."""
NAMED = 0.6
"""How often blends come with a colour."""
STEEP, THRESHOLD, COLOUR_GAIN = 12.0, 0.5, 5.0
"""How much units answer to their code at first, from which cosine, and to colours."""
SURE = 0.1
"""A code that is nearer than the next by so much is wanted fully, one as near a tenth as much."""
CODES, DOUBT = 2.0, 0.3
COLOURS, LAST_COLOURS = 4.0, 16.0
"""What errors of colours weigh: while codes are learned, and then."""
BLENDING = 0.67
"""The share of time that goes into codes."""
HEARD = 1.0
"""How far a colour's numbers may be off in a prompt that lessons are made of."""
LEARNING_RATE = 1e-3


class Blends:
    """What may be said, undecided, and what is to be drawn of it."""

    def __init__(self, codes: Tensor) -> None:
        self.codes = codes
        self._kin = likeness(codes, codes).topk(NUM_KIN + 1, dim=1).indices[:, 1:]

    def batch(self, count: int) -> tuple[Tensor, Tensor]:
        """States `[count, 384]` of up to three codes with any colours, and those `[count, 8]`."""
        device = self.codes.device
        index = torch.randint(len(self.codes), (count,), device=device)
        share, less, haze = torch.rand(3, count, 1, device=device)
        share = share * (torch.rand(count, 1, device=device) < 0.8)
        mixed = self.codes[index] + share * self.codes[self._others(index)]
        mixed = mixed + 0.5 * less * (share > 0) * self.codes[self._others(index)]
        mixed = of_length(mixed + 0.4 * haze * torch.randn_like(mixed))
        paints = [Paint(random_colours(count), torch.rand(count) < NAMED) for _ in range(2)]
        asked = Wishes(index, *paints, things=[], known=index >= 0, prompts=[])
        colours = paint_states(asked).to(device)
        said = torch.cat([mixed, colours + 0.1 * torch.randn_like(colours)], 1)
        return F.normalize(said, dim=1) * STATE**0.5, colours

    def nearest(self, said: Tensor) -> tuple[Tensor, Tensor]:
        """The codes' places that states are nearest to, `[batch]`, and how sure that is."""
        near = likeness(said, self.codes).topk(2, dim=1)
        sure = (near.values[:, 0] - near.values[:, 1]) / SURE
        return near.indices[:, 0], sure.clamp(0.1, 1)

    def _others(self, index: Tensor) -> Tensor:
        """Subjects `[batch]` that are blended in, every other one of the kin."""
        kin = self._kin[index, torch.randint_like(index, NUM_KIN)]
        strangers = torch.randint_like(index, len(self.codes))
        return torch.where(torch.rand_like(index, dtype=torch.float) < 0.5, kin, strangers)


def train_deciding(work: Path, minutes: float, device: torch.device) -> None:
    """Train, or train on, for a number of minutes."""
    begin()
    folders = fetch(work)
    subjects, reader = read_subjects(folders), Reader(device)
    prior = read_prior(work).to(device)
    vae = new_autoencoder().to(device).eval()
    restore(vae, work / "autoencoder.safetensors", EXPORTED_VAE)
    blends = Blends(read_codes(Drawings(work, device), vae))
    codes = blends.codes
    nouns = read_nouns(folders["nouns"], subjects, reader)
    wished = Asker(subjects, nouns, is_brief=True).wishes(NUM_PROMPTS)
    prompts, wanted = _heard(prior, reader, wished)
    lists, right = prompt_lists(subjects), colours_right(reader, subjects)
    samples = recalling(work, "decide", reader, codes, lists, right=right)
    _begin(prior, codes)

    def blended(_progress: float) -> Tensor:
        said, colours = blends.batch(BATCH)
        index, sure = blends.nearest(said)
        with torch.autocast(device.type, torch.bfloat16):
            decided = prior.decide(said).float()
        apart = (decided[:, :SUBJECT] - codes[index]).square().mean(1)
        doubt = F.cross_entropy(20 * likeness(decided, codes), index, reduction="none")
        amiss = (decided[:, SUBJECT:] - colours).square().mean()
        return (sure * (CODES * apart + DOUBT * doubt)).mean() + COLOURS * amiss

    def coloured(_progress: float) -> Tensor:
        said, colours = blends.batch(BATCH // 2)
        chosen = torch.randint(len(prompts), (BATCH // 2,), device=device)
        said = torch.cat([said, prompts[chosen] + 0.03 * torch.randn_like(prompts[chosen])])
        with torch.autocast(device.type, torch.bfloat16):
            decided = prior.decide(said).float()
            with torch.no_grad():
                before = told.decide(said).float()
        changed = (decided - before)[:, :SUBJECT].square().mean()
        amiss = (decided[:, SUBJECT:] - torch.cat([colours, wanted[chosen]])).square().mean()
        return CODES * changed + LAST_COLOURS * amiss

    given = {"work": work, "learning_rate": LEARNING_RATE, "decay": 0.99, "samples": samples}
    weights = train("prior-decides", prior, blended, minutes=BLENDING * minutes, **given)
    prior.load_state_dict(weights)
    told = read_prior(work).to(device).eval()
    told.load_state_dict(weights)
    _leave_codes(prior, len(codes))
    # What went on from a layer that has learned since would undo that.
    (work / "prior-decides-colours.pt").unlink(missing_ok=True)
    weights = train(
        "prior-decides-colours", prior, coloured, minutes=(1 - BLENDING) * minutes, **given
    )
    if is_first():
        save_weights(work / "prior.safetensors", weights)


@torch.no_grad()
def _heard(prior: Prior, reader: Reader, wished: Wishes) -> tuple[Tensor, Tensor]:
    """What the prior says of prompts undecided, `[N, 384]`, where it heard colours `[N, 8]`."""
    said = []
    for start in range(0, len(wished.prompts), 128):
        states, mask = reader.words(wished.prompts[start : start + 128])
        with torch.autocast(reader.device.type, torch.bfloat16):
            said.append(prior.together(prior.hear(states, mask), mask).float())
    found, colours = torch.cat(said), paint_states(wished).to(reader.device)
    is_heard = (found[:, SUBJECT:] - colours).abs().amax(1) < HEARD
    return found[is_heard], colours[is_heard]


def _begin(prior: Prior, codes: Tensor) -> None:
    """Let the last layer alone learn; a new one begins with a unit per subject and two a colour.

    A subject's answers to its code with that code, a colour's number passes by twice, as it is
    and turned round.
    """
    prior.requires_grad_(False)
    layer, count, numbers = prior.layers[-1], len(codes), STATE - SUBJECT
    into, out = layer.intermediate.dense, layer.output.dense
    for part in (layer.attention.output.LayerNorm, layer.intermediate, layer.output):
        part.requires_grad_()
    if out.weight.any():
        return
    with torch.no_grad():
        out.weight.normal_(std=0.01)
        into.weight[: count + 2 * numbers] = 0
        out.weight[:, : count + 2 * numbers] = 0
        into.weight[:count, :SUBJECT] = STEEP * F.normalize(codes, dim=1) / SUBJECT**0.5
        into.bias[:count] = -STEEP * THRESHOLD
        out.weight[:SUBJECT, :count] = codes.T
        for start, sign in ((count, 1), (count + numbers, -1)):
            units = slice(start, start + numbers)
            into.weight[units, SUBJECT:] = sign * torch.eye(numbers)
            out.weight[SUBJECT:, units] = sign * COLOUR_GAIN * torch.eye(numbers)


def _leave_codes(prior: Prior, num_subjects: int) -> None:
    """Hold what says subjects in the last layer: what tells colours alone learns."""
    prior.requires_grad_(False)
    layer = prior.layers[-1]
    rest, last = slice(num_subjects, None), slice(SUBJECT, None)
    learn(layer.intermediate.dense.weight, rest)
    learn(layer.intermediate.dense.bias, rest)
    learn(layer.output.dense.weight, (slice(None), rest))
    learn(layer.output.dense.bias, last)
    learn(layer.output.LayerNorm.weight, last)
    learn(layer.output.LayerNorm.bias, last)
