"""What AUTOMATIC1111 writes about a picture: `parameters` in its PNG, and `info` in an answer."""

import re
import time
from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.catalog.samplers import SAMPLERS
from gateway.images.receipt import KEY, Receipt, read_receipt
from gateway.remarks import Remark
from gateway.studio import Picture
from gateway.web.automatic1111.names import SAMPLER_NAMES

PARAMETERS = "parameters"
"""The PNG's text chunk."""

_PAIR = re.compile(r'\s*([\w ()/+-]{1,60}):\s*("(?:\\.|[^\\"])*"|[^,]*)(?:,|$)')


def infotext(receipt: Receipt, version: str) -> str:
    """A picture's parameters as AUTOMATIC1111 writes them, for programs that read that."""
    tags = "".join(f" <lora:{use.route}:{use.scale:g}>" for use in receipt.adapters)
    lines = [receipt.prompt + tags]
    if receipt.negative_prompt:
        lines.append(f"Negative prompt: {receipt.negative_prompt}")
    width, height = receipt.output_size or (receipt.width, receipt.height)
    facts: dict[str, Any] = {
        "Steps": receipt.num_inference_steps,
        "Sampler": sampler_label(receipt.scheduler),
        "CFG scale": None if receipt.guidance_scale is None else f"{receipt.guidance_scale:g}",
        "Seed": receipt.seed,
        "Size": f"{width}x{height}",
        "Model": receipt.model,
        "Denoising strength": receipt.strength,
        "Version": version,
    }
    told = [f"{name}: {value}" for name, value in facts.items() if value is not None]
    return "\n".join([*lines, ", ".join(told)])


def infotext_of(text: Mapping[str, str], version: str) -> str:
    """What a picture's text chunks say of how it was made; empty where nothing is known."""
    if PARAMETERS in text:
        return text[PARAMETERS]
    if KEY in text:
        try:
            return infotext(read_receipt(text), version)
        except ValueError:
            return ""
    return ""


def parsed(text: str) -> dict[str, str]:
    """What an infotext says, by name."""
    *lines, last = text.strip().split("\n") if text.strip() else [""]
    facts = {name.strip(): value.strip().strip('"') for name, value in _PAIR.findall(last)}
    if "Steps" not in facts:
        lines, facts = [*lines, last], {}
    prompt, _, negative = "\n".join(lines).partition("Negative prompt:")
    return {"Prompt": prompt.strip(), "Negative prompt": negative.strip(), **facts}


def info(
    pictures: list[Picture],
    seeds: tuple[int, ...],
    texts: list[str],
    remarks: tuple[Remark, ...],
    given: dict[str, Any],
) -> dict[str, Any]:
    """The facts of an answer; `texts` are the pictures' infotexts, `given` more of its facts.

    What was not done as asked is in `extra_generation_params`, which clients show, and in
    `warnings` in the form of the other dialects.
    """
    num = len(pictures)
    receipt = pictures[0].receipt if pictures else None
    return given | {
        "seed": seeds[0],
        "all_seeds": list(seeds[:num]),
        "subseed": seeds[0],
        "all_subseeds": list(seeds[:num]),
        "subseed_strength": 0,
        "all_prompts": [given["prompt"]] * num,
        "all_negative_prompts": [given["negative_prompt"]] * num,
        "sampler_name": sampler_label(receipt.scheduler) if receipt else "",
        "cfg_scale": receipt.guidance_scale if receipt else None,
        "steps": receipt.num_inference_steps if receipt else 0,
        "batch_size": num,
        "restore_faces": False,
        "face_restoration_model": None,
        "sd_model_hash": None,
        "sd_vae_name": None,
        "sd_vae_hash": None,
        "seed_resize_from_w": -1,
        "seed_resize_from_h": -1,
        "denoising_strength": receipt.strength if receipt else None,
        "extra_generation_params": {one.param or one.code: one.message for one in remarks},
        "index_of_first_image": 0,
        "infotexts": texts,
        "styles": [],
        "job_timestamp": time.strftime("%Y%m%d%H%M%S", time.gmtime()),
        "clip_skip": 1,
        "is_using_inpainting_conditioning": False,
        "warnings": msgspec.to_builtins(remarks),
    }


def sampler_label(cls: str) -> str:
    """What users call the sampler that a diffusers class carries out, or the class itself."""
    for label, name in (("Euler", "euler"), *SAMPLER_NAMES.items()):
        if SAMPLERS[name] and SAMPLERS[name][0].cls == cls:
            return label
    return "Euler" if cls == "FlowMatchEulerDiscreteScheduler" else cls
