"""From trained weights to a folder that plain `DiffusionPipeline.from_pretrained` loads."""

import json
import re
import shutil
from pathlib import Path

import torch
from autoencoder import EXPORTED as EXPORTED_VAE
from autoencoder import new_autoencoder
from compose import COLOURS, SHADES
from denoiser import EXPORTED, new_denoiser
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline
from nouns import read_nouns
from safetensors.torch import load_file, save_file
from subjects import fetch, read_subjects
from text_encoder import EXPORTED as EXPORTED_PRIOR
from text_encoder import (
    MODEL,
    NUM_MINILM_LAYERS,
    VOCABULARY,
    Reader,
    keep_words,
    minilm_folder,
    new_tokenizer,
    read_minilm,
    read_prior,
)
from torch import nn
from training import restore
from transformers import BertModel, PreTrainedTokenizerFast
from words import BEHIND, IN_COLOUR, ON_COLOUR, PLAIN

MINILM_FILE, PRIOR_FILE = "model-00001-of-00002.safetensors", EXPORTED_PRIOR.name
NUM_FREQUENT = 16_500
"""Vocabulary entries kept for their rank; BERT's vocabulary is sorted by frequency."""
FIRST_WORD = 104
"""Before it the tokenizer has entries of its own."""
NO_THING = re.compile(r"^\[unused|\d|^##|(?:ly|ing)$|[^\x00-\x7f]")
"""Entries that are kept only where the lessons' words and nouns need them."""
PARTS = ("text_encoder", "tokenizer", "unet", "vae", "scheduler", "model_index.json")


def export(work: Path, target: Path = MODEL) -> None:
    """Write text encoder, tokenizer, denoiser, autoencoder and scheduler, in float16."""
    staged = work / "export"
    shutil.rmtree(staged, ignore_errors=True)
    pipeline(work).to(torch.float16).save_pretrained(staged)
    set_prior_apart(staged / "text_encoder")
    for part in PARTS:
        if (staged / part).is_dir():
            shutil.rmtree(target / part, ignore_errors=True)
        shutil.move(staged / part, target / part)


def pipeline(work: Path) -> StableDiffusionPipeline:
    """The whole model from the work folder's weights."""
    vae, unet = new_autoencoder(), new_denoiser()
    restore(vae, work / "autoencoder.safetensors", EXPORTED_VAE)
    restore(unet, work / "denoiser.safetensors", EXPORTED)
    encoder, tokenizer = text_side(work)
    return StableDiffusionPipeline(
        vae=vae.eval(),
        text_encoder=encoder,
        tokenizer=tokenizer,
        unet=unet.eval(),
        scheduler=new_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def new_scheduler() -> DPMSolverMultistepScheduler:
    """Second-order steps along the flow; one step is the model's own guess."""
    return DPMSolverMultistepScheduler(
        prediction_type="flow_prediction",
        use_flow_sigmas=True,
        flow_shift=1.0,
        timestep_spacing="trailing",
    )


def set_prior_apart(folder: Path) -> None:
    """Give what is trained a file of its own: the rest of MiniLM stays the same ever after."""
    whole = load_file(folder / "model.safetensors")
    places = {
        name: PRIOR_FILE if _layer(name) >= NUM_MINILM_LAYERS else MINILM_FILE for name in whole
    }
    for file in (MINILM_FILE, PRIOR_FILE):
        part = {name: tensor for name, tensor in whole.items() if places[name] == file}
        save_file(part, folder / file, metadata={"format": "pt"})
    size = sum(tensor.nbytes for tensor in whole.values())
    index = {"metadata": {"total_size": size}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")
    (folder / "model.safetensors").unlink()


def _layer(name: str) -> int:
    """The number of the layer that a weight belongs to, -1 outside the layers."""
    _, _, behind = name.partition("encoder.layer.")
    return int(behind.partition(".")[0]) if behind else -1


def text_side(work: Path) -> tuple[BertModel, PreTrainedTokenizerFast]:
    """MiniLM without the rare part of its vocabulary, and the prior on top.

    A first export keeps every word of the prompts, later ones the same words as the first.
    `use_attention_mask` is diffusers' own setting.
    """
    tokenizer, read = read_minilm()
    if not VOCABULARY.exists():
        kept = sorted(_frequent_ids(tokenizer) | _used_ids(work, tokenizer))
        keep_words(read, kept)
        tokenizer = _pruned(minilm_folder(), kept)
    prior = read_prior(work)
    read.encoder.layer = nn.ModuleList([*read.encoder.layer[:NUM_MINILM_LAYERS], *prior.layers])
    read.config.num_hidden_layers = len(read.encoder.layer)
    read.config.use_attention_mask = True
    return read.eval(), tokenizer


def _frequent_ids(tokenizer: PreTrainedTokenizerFast) -> set[int]:
    """Frequent words, but no numbers, parts of words, adverbs or gerunds: none is a thing."""
    return {
        id
        for token, id in tokenizer.get_vocab().items()
        if id < FIRST_WORD or (id < NUM_FREQUENT and not NO_THING.search(token))
    }


def _used_ids(work: Path, tokenizer: PreTrainedTokenizerFast) -> set[int]:
    folders = fetch(work)
    subjects, reader = read_subjects(folders), Reader(torch.device("cpu"))
    worded = (*PLAIN, *IN_COLOUR, *ON_COLOUR, *BEHIND, *COLOURS, *SHADES)
    texts = [re.sub(r"{\w*}", " ", text) for text in worded]
    texts += read_nouns(folders["nouns"], subjects, reader)
    for subject in subjects:
        texts += [subject.name, *subject.keywords]
    vocabulary = tokenizer.get_vocab()
    used = {id for ids in tokenizer(texts).input_ids for id in ids}
    plurals = {
        vocabulary[token]
        for token in vocabulary
        if token[-1] == "s" and vocabulary.get(token[:-1]) in used
    }
    single = {
        id
        for token, id in vocabulary.items()
        if len(token.removeprefix("##")) == 1 and token.isascii()
    }
    return used | single | plurals


def _pruned(folder: Path, kept: list[int]) -> PreTrainedTokenizerFast:
    described = json.loads((folder / "tokenizer.json").read_text())
    new_ids = {old: new for new, old in enumerate(kept)}
    vocabulary = described["model"]["vocab"]
    described["model"]["vocab"] = {
        token: new_ids[id] for token, id in vocabulary.items() if id in new_ids
    }
    described["truncation"] = described["padding"] = None
    return new_tokenizer(json.dumps(described))
