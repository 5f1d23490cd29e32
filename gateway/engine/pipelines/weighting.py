"""Prompts of any length, with weights and breaks, where text encoders are all CLIP's.

compel reads them; it calls the pipeline's own tokenizers and encoders, so that a sample's
calls are parked and shared as ever.
"""

import re
from typing import Any

import torch
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from gateway.catalog.cards import CardError, EndpointCard
from gateway.errors import UnsupportedValue
from gateway.job import Job

EXTRA = "weighted"
_POOLED = "pooled_prompt_embeds"
_WEIGHTED = re.compile(r"\(([^()]+):\s*(\d+\.?\d*|\.\d+)\s*\)")
_BREAK = re.compile(r"(?<!\w)BREAK(?!\w)")
_ENCODERS = ("text_encoder", "text_encoder_2")
MAX_PARTS = 16
"""Of a text with `BREAK`: each fills a window of the encoder, however few words it has."""


def check_weighting(card: EndpointCard, pipeline: Any, known: Any) -> None:
    """See that an endpoint's prompts can be read so.

    Raises:
        CardError: they cannot, and why.
    """
    if card.prompts == "plain":
        return
    where = "key 'prompts' = 'weighted'"
    parts = {name: one for name, one in pipeline.components.items() if "text_encoder" in name}
    encoders = {name: one for name, one in parts.items() if one is not None}
    are_clip = all(
        isinstance(one, CLIPTextModel | CLIPTextModelWithProjection) for one in encoders.values()
    )
    if not encoders or not are_clip or "prompt_embeds" not in known:
        raise CardError(f"{where}: wanted text encoders that are all CLIP's", card.path)
    try:
        import compel  # noqa: F401, PLC0415  an extra, which few have
    except ImportError:
        raise CardError(f"{where}: needs the extra '{EXTRA}', with compel", card.path) from None


def weighted(pipeline: Any, known: Any, job: Job) -> dict[str, Any]:
    """The arguments that stand for a job's prompts, in place of their texts.

    Raises:
        UnsupportedValue: one of them is broken into too many parts.
    """
    from compel import Compel, ReturnedEmbeddingsType  # noqa: PLC0415  an extra

    is_pooled = _POOLED in known
    kinds = ReturnedEmbeddingsType
    kind = (
        kinds.PENULTIMATE_HIDDEN_STATES_NON_NORMALIZED
        if is_pooled
        else kinds.LAST_HIDDEN_STATES_NORMALIZED
    )
    texts = [_parts(job.prompt, "prompt")]
    if job.negative_prompt or not pipeline.config.get("force_zeros_for_empty_prompt"):
        texts.append(_parts(job.negative_prompt or "", "negative_prompt"))
    encoders = [name for name in _ENCODERS if getattr(pipeline, name, None) is not None]
    read, pooled = [], None
    for name in encoders:
        is_last = is_pooled and name == encoders[-1]
        tokenizer = getattr(pipeline, name.replace("text_encoder", "tokenizer"))
        reader = Compel(
            tokenizer=tokenizer,
            text_encoder=getattr(pipeline, name),
            returned_embeddings_type=kind,
            truncate_long_prompts=False,
            requires_pooled=is_last,
        )
        rows = [
            [reader([_with_all_vectors(part, pipeline, tokenizer)]) for part in parts]
            for parts in texts
        ]
        if is_last:
            pooled = torch.cat([parts[0][1] for parts in rows])
            rows = [[embeds for embeds, _ in parts] for parts in rows]
        whole = [torch.cat(parts, dim=1) for parts in rows]
        read.append(torch.cat(reader.pad_conditioning_tensors_to_same_length(whole)))
    return _named(torch.cat(read, dim=-1), pooled, len(texts))


def _with_all_vectors(text: str, pipeline: Any, tokenizer: Any) -> str:
    """A text in which every word of an embedding is followed by the names of its other vectors."""
    convert = getattr(pipeline, "maybe_convert_prompt", None)
    return text if convert is None else str(convert(text, tokenizer))


def _parts(text: str, param: str) -> list[str]:
    """What is read each by itself and laid one after another, as compel has it.

    Raises:
        UnsupportedValue: it is too much.
    """
    parts = [_spelt(part.strip()) for part in _BREAK.split(text) if part.strip()]
    if len(parts) > MAX_PARTS:
        raise UnsupportedValue(
            f"BREAK makes {len(parts)} parts of it; wanted at most {MAX_PARTS}.", param=param
        )
    return parts or [""]


def _spelt(text: str) -> str:
    """`(word:1.3)`, from the inside to the outside, as compel has it: `(word)1.3`."""
    spelt, before = text, ""
    while spelt != before:
        before, spelt = spelt, _WEIGHTED.sub(lambda found: f"\0{found[1]}\1{found[2]}", spelt)
    return spelt.replace("\0", "(").replace("\1", ")")


def _named(embeds: Any, pooled: Any, num_texts: int) -> dict[str, Any]:
    """What a pipeline calls the rows of what was read: the prompt's, then the negative's."""
    given = {"prompt_embeds": embeds[:1]}
    if num_texts > 1:
        given["negative_prompt_embeds"] = embeds[1:]
    if pooled is not None:
        given[_POOLED] = pooled[:1]
        if num_texts > 1:
            given[f"negative_{_POOLED}"] = pooled[1:]
    return given
