"""From trained weights to a folder that plain `DiffusionPipeline.from_pretrained` loads."""

import json
import shutil
from pathlib import Path

import torch
from autoencoder import EXPORTED as EXPORTED_VAE
from autoencoder import new_autoencoder
from denoiser import EXPORTED, new_denoiser
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline
from subjects import fetch, read_subjects
from tokenizers import Tokenizer
from training import restore
from transformers import AutoTokenizer, BertModel, PreTrainedTokenizerFast
from words import NUM_TOKENS, ON_COLOUR, PLAIN, text_encoder_folder

MODEL = Path(__file__).resolve().parent.parent
NUM_FREQUENT = 20_000
"""Vocabulary entries kept for their rank; BERT's vocabulary is sorted by frequency."""
PARTS = ("text_encoder", "tokenizer", "unet", "vae", "scheduler", "model_index.json")


def export(work: Path, target: Path = MODEL) -> None:
    """Write text encoder, tokenizer, denoiser, autoencoder and scheduler, in float16."""
    staged = work / "export"
    shutil.rmtree(staged, ignore_errors=True)
    pipeline(work).to(torch.float16).save_pretrained(staged)
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


def text_side(work: Path) -> tuple[BertModel, PreTrainedTokenizerFast]:
    """MiniLM without the rare half of its vocabulary; every training word reads as before."""
    folder = text_encoder_folder()
    whole = AutoTokenizer.from_pretrained(folder)
    kept = sorted(set(range(NUM_FREQUENT)) | _used_ids(work, whole))
    encoder = BertModel.from_pretrained(folder).eval()
    rows = encoder.embeddings.word_embeddings.weight.detach()[kept]
    encoder.resize_token_embeddings(len(kept))
    encoder.embeddings.word_embeddings.weight = torch.nn.Parameter(rows.clone())
    return encoder, _pruned(folder, kept)


def _used_ids(work: Path, tokenizer: PreTrainedTokenizerFast) -> set[int]:
    texts = [text.replace("{}", " ") for text in (*PLAIN, *ON_COLOUR)]
    for subject in read_subjects(fetch(work)):
        texts += [subject.name, *subject.keywords]
    single = [
        id
        for token, id in tokenizer.get_vocab().items()
        if len(token.removeprefix("##")) == 1 and token.isascii()
    ]
    return {id for ids in tokenizer(texts).input_ids for id in ids} | set(single)


def _pruned(folder: Path, kept: list[int]) -> PreTrainedTokenizerFast:
    described = json.loads((folder / "tokenizer.json").read_text())
    new_ids = {old: new for new, old in enumerate(kept)}
    vocabulary = described["model"]["vocab"]
    described["model"]["vocab"] = {
        token: new_ids[id] for token, id in vocabulary.items() if id in new_ids
    }
    described["truncation"] = described["padding"] = None
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(described)),
        model_max_length=NUM_TOKENS,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )
