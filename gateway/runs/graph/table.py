"""The nodes that a graph may hold: their inputs with types and ranges, and their outputs."""

import math
from typing import Any

import msgspec

from gateway.runs.graph.samplers import sampler_names, scheduler_names

ANY = "*"
LITERALS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")


class Input(msgspec.Struct, frozen=True):
    """One input of a node.

    `type` is a ComfyUI type; COMBO takes one of `options`, where None means that the
    catalogue decides. `default` is what an optional input means when it is left out;
    elsewhere it is what ComfyUI's editor begins with.
    """

    type: str
    default: Any = msgspec.UNSET
    min: float = -math.inf
    max: float = math.inf
    options: tuple[str, ...] | None = None
    optional: bool = False

    @property
    def is_required(self) -> bool:
        """Whether a graph without it is at fault, as ComfyUI sees it."""
        return not self.optional

    @property
    def is_literal(self) -> bool:
        """Whether a value may be written into the graph rather than linked."""
        return self.type in LITERALS


class Definition(msgspec.Struct, frozen=True):
    """A class of nodes; `is_output` marks those that make a graph do anything."""

    inputs: dict[str, Input]
    outputs: tuple[str, ...] = ()
    is_output: bool = False


def _int(default: int, low: float = -math.inf, high: float = math.inf) -> Input:
    return Input("INT", default, low, high)


def _float(default: float, low: float = -math.inf, high: float = math.inf) -> Input:
    return Input("FLOAT", default, low, high)


def _text(default: str | msgspec.UnsetType = msgspec.UNSET) -> Input:
    return Input("STRING", default)


def _of(*options: str) -> Input:
    return Input("COMBO", options[0], options=options)


def _left_out(given: Input) -> Input:
    return msgspec.structs.replace(given, optional=True)


MODEL, CLIP, VAE = Input("MODEL"), Input("CLIP"), Input("VAE")
CONDITIONING, LATENT, IMAGE, MASK = (
    Input("CONDITIONING"),
    Input("LATENT"),
    Input("IMAGE"),
    Input("MASK"),
)
NAME = Input("COMBO")
"""A file's name, looked up in the catalogue when the graph is compiled."""

SEED = _int(0, -1, 2**64 - 1)
STEPS = _int(20, 1, 10_000)
CFG = _float(8.0, 0, 100)
DENOISE = _float(1.0, 0, 1)
STRENGTH = _float(1.0, -100, 100)
EDGE = _int(512, 16, 16_384)
SAMPLER = _of(*sampler_names())
SCHEDULER = _of(*scheduler_names())
UPSCALE = _of("nearest-exact", "bilinear", "area", "bicubic", "lanczos")
SWITCH = _of("enable", "disable")
DEVICE = _left_out(_of("default", "cpu"))
CLIP_TYPES = (
    *("stable_diffusion", "sdxl", "sd3", "flux", "flux2", "chroma", "lumina2", "qwen_image"),
    *("pixart", "stable_cascade", "stable_audio", "hidream", "hunyuan_image", "hunyuan_video"),
)

LOADERS = {
    "CheckpointLoaderSimple": Definition({"ckpt_name": NAME}, ("MODEL", "CLIP", "VAE")),
    "UNETLoader": Definition(
        {
            "unet_name": NAME,
            "weight_dtype": _of("default", "fp8_e4m3fn", "fp8_e4m3fn_fast", "fp8_e5m2"),
        },
        ("MODEL",),
    ),
    "CLIPLoader": Definition(
        {"clip_name": NAME, "type": _of(*CLIP_TYPES), "device": DEVICE}, ("CLIP",)
    ),
    "DualCLIPLoader": Definition(
        {"clip_name1": NAME, "clip_name2": NAME, "type": _of(*CLIP_TYPES), "device": DEVICE},
        ("CLIP",),
    ),
    "TripleCLIPLoader": Definition(
        {"clip_name1": NAME, "clip_name2": NAME, "clip_name3": NAME}, ("CLIP",)
    ),
    "VAELoader": Definition({"vae_name": NAME}, ("VAE",)),
    "LoraLoader": Definition(
        {
            "model": MODEL,
            "clip": CLIP,
            "lora_name": NAME,
            "strength_model": STRENGTH,
            "strength_clip": STRENGTH,
        },
        ("MODEL", "CLIP"),
    ),
    "LoraLoaderModelOnly": Definition(
        {"model": MODEL, "lora_name": NAME, "strength_model": STRENGTH}, ("MODEL",)
    ),
    "ModelSamplingDiscrete": Definition(
        {
            "model": MODEL,
            "sampling": _of("eps", "v_prediction", "lcm", "x0"),
            "zsnr": Input("BOOLEAN", False),
        },
        ("MODEL",),
    ),
    "ModelSamplingSD3": Definition({"model": MODEL, "shift": _float(3.0, 0, 100)}, ("MODEL",)),
    "ModelSamplingAuraFlow": Definition(
        {"model": MODEL, "shift": _float(1.73, 0, 100)}, ("MODEL",)
    ),
    "ModelSamplingFlux": Definition(
        {
            "model": MODEL,
            "max_shift": _float(1.15, 0, 100),
            "base_shift": _float(0.5, 0, 100),
            "width": _int(1024, 16, 16_384),
            "height": _int(1024, 16, 16_384),
        },
        ("MODEL",),
    ),
}

CONDITIONINGS = {
    "CLIPSetLastLayer": Definition(
        {"clip": CLIP, "stop_at_clip_layer": _int(-1, -24, -1)}, ("CLIP",)
    ),
    "CLIPTextEncode": Definition({"text": _text(), "clip": CLIP}, ("CONDITIONING",)),
    "CLIPTextEncodeSDXL": Definition(
        {
            "clip": CLIP,
            "width": _int(1024, 0, 16_384),
            "height": _int(1024, 0, 16_384),
            "crop_w": _int(0, 0, 16_384),
            "crop_h": _int(0, 0, 16_384),
            "target_width": _int(1024, 0, 16_384),
            "target_height": _int(1024, 0, 16_384),
            "text_g": _text(),
            "text_l": _text(),
        },
        ("CONDITIONING",),
    ),
    "CLIPTextEncodeFlux": Definition(
        {"clip": CLIP, "clip_l": _text(), "t5xxl": _text(), "guidance": _float(3.5, 0, 100)},
        ("CONDITIONING",),
    ),
    "ConditioningZeroOut": Definition({"conditioning": CONDITIONING}, ("CONDITIONING",)),
    "FluxGuidance": Definition(
        {"conditioning": CONDITIONING, "guidance": _float(3.5, 0, 100)}, ("CONDITIONING",)
    ),
}

LATENTS = {
    "EmptyLatentImage": Definition(
        {"width": EDGE, "height": EDGE, "batch_size": _int(1, 1, 4096)}, ("LATENT",)
    ),
    "EmptySD3LatentImage": Definition(
        {
            "width": _int(1024, 16, 16_384),
            "height": _int(1024, 16, 16_384),
            "batch_size": _int(1, 1, 4096),
        },
        ("LATENT",),
    ),
    "RepeatLatentBatch": Definition({"samples": LATENT, "amount": _int(1, 1, 64)}, ("LATENT",)),
    "SetLatentNoiseMask": Definition({"samples": LATENT, "mask": MASK}, ("LATENT",)),
    "VAEDecode": Definition({"samples": LATENT, "vae": VAE}, ("IMAGE",)),
    "VAEEncode": Definition({"pixels": IMAGE, "vae": VAE}, ("LATENT",)),
    "VAEEncodeForInpaint": Definition(
        {"pixels": IMAGE, "vae": VAE, "mask": MASK, "grow_mask_by": _int(6, 0, 64)},
        ("LATENT",),
    ),
}

SAMPLING = {
    "KSampler": Definition(
        {
            "model": MODEL,
            "seed": _left_out(SEED),
            "steps": STEPS,
            "cfg": CFG,
            "sampler_name": SAMPLER,
            "scheduler": SCHEDULER,
            "positive": CONDITIONING,
            "negative": CONDITIONING,
            "latent_image": LATENT,
            "denoise": DENOISE,
        },
        ("LATENT",),
    ),
    "KSamplerAdvanced": Definition(
        {
            "model": MODEL,
            "add_noise": SWITCH,
            "noise_seed": _left_out(SEED),
            "steps": STEPS,
            "cfg": CFG,
            "sampler_name": SAMPLER,
            "scheduler": SCHEDULER,
            "positive": CONDITIONING,
            "negative": CONDITIONING,
            "latent_image": LATENT,
            "start_at_step": _int(0, 0, 10_000),
            "end_at_step": _int(10_000, 0, 10_000),
            "return_with_leftover_noise": _of("disable", "enable"),
        },
        ("LATENT",),
    ),
    "SamplerCustom": Definition(
        {
            "model": MODEL,
            "add_noise": Input("BOOLEAN", True),
            "noise_seed": _left_out(SEED),
            "cfg": CFG,
            "positive": CONDITIONING,
            "negative": CONDITIONING,
            "sampler": Input("SAMPLER"),
            "sigmas": Input("SIGMAS"),
            "latent_image": LATENT,
        },
        ("LATENT", "LATENT"),
    ),
    "SamplerCustomAdvanced": Definition(
        {
            "noise": Input("NOISE"),
            "guider": Input("GUIDER"),
            "sampler": Input("SAMPLER"),
            "sigmas": Input("SIGMAS"),
            "latent_image": LATENT,
        },
        ("LATENT", "LATENT"),
    ),
    "RandomNoise": Definition({"noise_seed": _left_out(SEED)}, ("NOISE",)),
    "BasicGuider": Definition({"model": MODEL, "conditioning": CONDITIONING}, ("GUIDER",)),
    "CFGGuider": Definition(
        {"model": MODEL, "positive": CONDITIONING, "negative": CONDITIONING, "cfg": CFG},
        ("GUIDER",),
    ),
    "KSamplerSelect": Definition({"sampler_name": SAMPLER}, ("SAMPLER",)),
    "BasicScheduler": Definition(
        {"model": MODEL, "scheduler": SCHEDULER, "steps": STEPS, "denoise": DENOISE}, ("SIGMAS",)
    ),
    "SDTurboScheduler": Definition(
        {"model": MODEL, "steps": _int(1, 1, 10), "denoise": DENOISE}, ("SIGMAS",)
    ),
}

PICTURES = {
    "LoadImage": Definition({"image": _text()}, ("IMAGE", "MASK")),
    "LoadImageMask": Definition(
        {"image": _text(), "channel": _of("alpha", "red", "green", "blue")}, ("MASK",)
    ),
    "ImageToMask": Definition(
        {"image": IMAGE, "channel": _of("red", "green", "blue", "alpha")}, ("MASK",)
    ),
    "ImageInvert": Definition({"image": IMAGE}, ("IMAGE",)),
    "ImageScale": Definition(
        {
            "image": IMAGE,
            "upscale_method": UPSCALE,
            "width": _int(512, 0, 16_384),
            "height": _int(512, 0, 16_384),
            "crop": _of("disabled", "center"),
        },
        ("IMAGE",),
    ),
    "ImageScaleBy": Definition(
        {"image": IMAGE, "upscale_method": UPSCALE, "scale_by": _float(1.0, 0.01, 8)}, ("IMAGE",)
    ),
    "ImageScaleToTotalPixels": Definition(
        {
            "image": IMAGE,
            "upscale_method": UPSCALE,
            "megapixels": _float(1.0, 0.01, 16),
            "resolution_steps": _left_out(_int(1, 1, 256)),
        },
        ("IMAGE",),
    ),
    "SaveImage": Definition({"images": IMAGE, "filename_prefix": _text("ComfyUI")}, is_output=True),
    "PreviewImage": Definition({"images": IMAGE}, is_output=True),
    "ComfyDeployOutputImage": Definition(
        {
            "images": IMAGE,
            "filename_prefix": _text("ComfyUI"),
            "file_type": _left_out(Input("COMBO", "webp", options=("png", "jpg", "webp"))),
            "quality": _left_out(_int(80, 1, 100)),
            "output_id": _left_out(_text("output_images")),
        },
        is_output=True,
    ),
}

PRIMITIVES = {
    "PrimitiveInt": Definition({"value": Input("INT")}, ("INT",)),
    "PrimitiveFloat": Definition({"value": Input("FLOAT")}, ("FLOAT",)),
    "PrimitiveString": Definition({"value": _text()}, ("STRING",)),
    "PrimitiveStringMultiline": Definition({"value": _text()}, ("STRING",)),
    "PrimitiveBoolean": Definition({"value": Input("BOOLEAN")}, ("BOOLEAN",)),
}


def _external(output: str, **inputs: Input) -> Definition:
    labels = {
        "input_id": _left_out(_text("")),
        "display_name": _left_out(_text("")),
        "description": _left_out(_text("")),
    }
    own = {name: _left_out(given) for name, given in inputs.items()}
    return Definition(labels | own, (output,))


EXTERNALS = {
    "ComfyUIDeployExternalText": _external("STRING", default_value=_text("")),
    "ComfyUIDeployExternalTextAny": _external(ANY, default_value=_text("")),
    "ComfyUIDeployExternalTextSingleLine": _external("STRING", default_value=_text("")),
    "ComfyUIDeployExternalNumber": _external("FLOAT", default_value=_float(0)),
    "ComfyUIDeployExternalNumberInt": _external("INT", default_value=_int(0)),
    "ComfyUIDeployExternalNumberSlider": _external(
        "FLOAT", default_value=_float(0.5), min_value=_float(0), max_value=_float(1)
    ),
    "ComfyUIDeployExternalNumberSliderInt": _external(
        "INT", default_value=_int(1), min_value=_int(0), max_value=_int(10)
    ),
    "ComfyUIDeployExternalBoolean": _external("BOOLEAN", default_value=Input("BOOLEAN", False)),
    "ComfyUIDeployExternalEnum": _external(ANY, default_value=_text(""), options=_text("[]")),
    "ComfyUIDeployExternalSeed": _external(
        "INT", default_value=_int(-1), min_value=_int(1), max_value=_int(2**32 - 1)
    ),
    "ComfyUIDeployExternalCheckpoint": _external(ANY, default_value=_text("")),
    "ComfyUIDeployExternalLora": _external(
        ANY,
        default_lora_name=_text(""),
        lora_save_name=_text(""),
        lora_url=_text(""),
        bearer_token=_text(""),
    ),
    "ComfyUIDeployExternalImage": _external(
        "IMAGE", default_value=Input("IMAGE"), default_value_url=_text("")
    ),
    "ComfyUIDeployExternalImageAlpha": _external(
        "IMAGE", default_value=Input("IMAGE"), default_value_url=_text("")
    ),
}

TABLE: dict[str, Definition] = (
    LOADERS | CONDITIONINGS | LATENTS | SAMPLING | PICTURES | PRIMITIVES | EXTERNALS
)
"""Every class of nodes that compiles."""
