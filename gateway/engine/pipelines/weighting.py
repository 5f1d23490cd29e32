"""Prompts of any length, with weights, for pipelines whose text encoders are all CLIP's.

compel reads them; it calls the pipeline's own tokenizers and encoders, so that a sample's
calls are parked and shared as ever.
"""

import re
from typing import Any

import torch
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from gateway.catalog.cards import CardError, EndpointCard
from gateway.job import Job

EXTRA = "weighted"
_POOLED = "pooled_prompt_embeds"
_WEIGHTED = re.compile(r"\(([^()]+):\s*(\d+\.?\d*|\.\d+)\s*\)")
_ENCODERS = ("text_encoder", "text_encoder_2")


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
    """The arguments that stand for a job's prompts, in place of their texts."""
    from compel import Compel, ReturnedEmbeddingsType  # noqa: PLC0415  an extra

    is_pooled = _POOLED in known
    kinds = ReturnedEmbeddingsType
    kind = (
        kinds.PENULTIMATE_HIDDEN_STATES_NON_NORMALIZED
        if is_pooled
        else kinds.LAST_HIDDEN_STATES_NORMALIZED
    )
    texts = [_spelt(job.prompt)]
    if job.negative_prompt or not pipeline.config.get("force_zeros_for_empty_prompt"):
        texts.append(_spelt(job.negative_prompt or ""))
    encoders = [name for name in _ENCODERS if getattr(pipeline, name, None) is not None]
    parts, pooled = [], None
    for name in encoders:
        is_last = is_pooled and name == encoders[-1]
        reader = Compel(
            tokenizer=getattr(pipeline, name.replace("text_encoder", "tokenizer")),
            text_encoder=getattr(pipeline, name),
            returned_embeddings_type=kind,
            truncate_long_prompts=False,
            requires_pooled=is_last,
        )
        found = reader(texts)
        embeds, pooled = found if is_last else (found, pooled)
        parts.append(embeds)
    return _named(torch.cat(parts, dim=-1), pooled, len(texts))


def _spelt(text: str) -> str:
    """`(word:1.3)` as compel has it, from the inside to the outside: `(word)1.3`."""
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
