"""The nodes that a graph may hold: their inputs with types and ranges, and their outputs."""

from gateway.catalog.samplers import SAMPLERS, SPACINGS
from gateway.runs.graph.controls import CONTROLS
from gateway.runs.graph.definition import (
    Definition,
    Input,
    edge,
    label,
    left_out,
    one_of,
    real,
    text,
    whole,
)
from gateway.runs.graph.measuring import MEASURES
from gateway.runs.graph.offers import EXTERNALS
from gateway.runs.graph.patches import PATCHES
from gateway.runs.graph.shaping import SHAPES

MODEL, CLIP, VAE = Input("MODEL"), Input("CLIP"), Input("VAE")
CONDITIONING, LATENT, IMAGE, MASK = (
    Input("CONDITIONING"),
    Input("LATENT"),
    Input("IMAGE"),
    Input("MASK"),
)
NAME = Input("COMBO")
"""A file's name, looked up in the catalogue when the graph is compiled."""

SEED = whole(0, -1, 2**64 - 1)
STEPS = whole(20, 1, 10_000)
CFG = real(8.0, 0, 100)
DENOISE = real(1.0, 0, 1)
STRENGTH = real(1.0, -100, 100)
EDGE = edge(512)
SAMPLER = one_of(*SAMPLERS)
SCHEDULER = one_of(*SPACINGS)
UPSCALE = one_of("nearest-exact", "bilinear", "area", "bicubic", "lanczos")
LATENT_UPSCALE = one_of("nearest-exact", "bilinear", "area", "bicubic", "bislerp")
CROP = one_of("disabled", "center")
SWITCH = one_of("enable", "disable")
DEVICE = left_out(one_of("default", "cpu"))
CLIP_TYPES = (
    *("stable_diffusion", "sdxl", "sd3", "flux", "flux2", "chroma", "lumina2", "qwen_image"),
    *("pixart", "stable_cascade", "stable_audio", "hidream", "hunyuan_image", "hunyuan_video"),
    *("omnigen2", "ovis", "longcat_image", "newbie", "kandinsky5", "kandinsky5_image", "krea2"),
    *("ernie_image", "cosmos", "wan", "ace", "mochi", "ltxv", "hunyuan_video_15", "lens", "boogu"),
)

LOADERS = {
    "CheckpointLoaderSimple": Definition({"ckpt_name": NAME}, ("MODEL", "CLIP", "VAE")),
    "UNETLoader": Definition(
        {
            "unet_name": NAME,
            "weight_dtype": one_of("default", "fp8_e4m3fn", "fp8_e4m3fn_fast", "fp8_e5m2"),
        },
        ("MODEL",),
    ),
    "CLIPLoader": Definition(
        {"clip_name": NAME, "type": one_of(*CLIP_TYPES), "device": DEVICE}, ("CLIP",)
    ),
    "DualCLIPLoader": Definition(
        {"clip_name1": NAME, "clip_name2": NAME, "type": one_of(*CLIP_TYPES), "device": DEVICE},
        ("CLIP",),
    ),
    "TripleCLIPLoader": Definition(
        {"clip_name1": NAME, "clip_name2": NAME, "clip_name3": NAME}, ("CLIP",)
    ),
    "QuadrupleCLIPLoader": Definition(
        {f"clip_name{number}": NAME for number in range(1, 5)}, ("CLIP",)
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
            "sampling": one_of("eps", "v_prediction", "lcm", "x0"),
            "zsnr": Input("BOOLEAN", False),
        },
        ("MODEL",),
    ),
    "ModelSamplingSD3": Definition({"model": MODEL, "shift": real(3.0, 0, 100)}, ("MODEL",)),
    "ModelSamplingAuraFlow": Definition({"model": MODEL, "shift": real(1.73, 0, 100)}, ("MODEL",)),
    "ModelSamplingFlux": Definition(
        {
            "model": MODEL,
            "max_shift": real(1.15, 0, 100),
            "base_shift": real(0.5, 0, 100),
            "width": edge(1024),
            "height": edge(1024),
        },
        ("MODEL",),
    ),
}

CONDITIONINGS = {
    "CLIPSetLastLayer": Definition(
        {"clip": CLIP, "stop_at_clip_layer": whole(-1, -24, -1)}, ("CLIP",)
    ),
    "CLIPTextEncode": Definition({"text": text(), "clip": CLIP}, ("CONDITIONING",)),
    "CLIPTextEncodeSDXL": Definition(
        {
            "clip": CLIP,
            "width": whole(1024, 0, 16_384),
            "height": whole(1024, 0, 16_384),
            "crop_w": whole(0, 0, 16_384),
            "crop_h": whole(0, 0, 16_384),
            "target_width": whole(1024, 0, 16_384),
            "target_height": whole(1024, 0, 16_384),
            "text_g": text(),
            "text_l": text(),
        },
        ("CONDITIONING",),
    ),
    "CLIPTextEncodeFlux": Definition(
        {"clip": CLIP, "clip_l": text(), "t5xxl": text(), "guidance": real(3.5, 0, 100)},
        ("CONDITIONING",),
    ),
    "CLIPTextEncodeSD3": Definition(
        {
            "clip": CLIP,
            "clip_l": text(),
            "clip_g": text(),
            "t5xxl": text(),
            "empty_padding": one_of("none", "empty_prompt"),
        },
        ("CONDITIONING",),
    ),
    "TextEncodeQwenImageEdit": Definition(
        {"clip": CLIP, "prompt": text(), "vae": left_out(VAE), "image": left_out(IMAGE)},
        ("CONDITIONING",),
    ),
    "TextEncodeQwenImageEditPlus": Definition(
        {
            "clip": CLIP,
            "prompt": text(),
            "vae": left_out(VAE),
            "image1": left_out(IMAGE),
            "image2": left_out(IMAGE),
            "image3": left_out(IMAGE),
        },
        ("CONDITIONING",),
    ),
    "ReferenceLatent": Definition(
        {"conditioning": CONDITIONING, "latent": left_out(LATENT)}, ("CONDITIONING",)
    ),
    "ConditioningZeroOut": Definition({"conditioning": CONDITIONING}, ("CONDITIONING",)),
    "ConditioningCombine": Definition(
        {"conditioning_1": CONDITIONING, "conditioning_2": CONDITIONING}, ("CONDITIONING",)
    ),
    "ConditioningConcat": Definition(
        {"conditioning_to": CONDITIONING, "conditioning_from": CONDITIONING}, ("CONDITIONING",)
    ),
    "FluxGuidance": Definition(
        {"conditioning": CONDITIONING, "guidance": real(3.5, 0, 100)}, ("CONDITIONING",)
    ),
}

TILES = {
    name: left_out(whole(default, 0, 4096))
    for name, default in (
        ("tile_size", 512),
        ("overlap", 64),
        ("temporal_size", 64),
        ("temporal_overlap", 8),
    )
}
"""How an autoencoder cuts a picture up, which its pipeline decides here."""

EMPTY = {
    "width": edge(1024),
    "height": edge(1024),
    "batch_size": whole(1, 1, 4096),
}

LATENTS = {
    "EmptyLatentImage": Definition(
        {"width": EDGE, "height": EDGE, "batch_size": whole(1, 1, 4096)}, ("LATENT",)
    ),
    "EmptySD3LatentImage": Definition(EMPTY, ("LATENT",)),
    "EmptyFlux2LatentImage": Definition(EMPTY, ("LATENT",)),
    "LatentUpscale": Definition(
        {
            "samples": LATENT,
            "upscale_method": LATENT_UPSCALE,
            "width": whole(512, 0, 16_384),
            "height": whole(512, 0, 16_384),
            "crop": CROP,
        },
        ("LATENT",),
    ),
    "LatentUpscaleBy": Definition(
        {"samples": LATENT, "upscale_method": LATENT_UPSCALE, "scale_by": real(1.5, 0.01, 8)},
        ("LATENT",),
    ),
    "RepeatLatentBatch": Definition({"samples": LATENT, "amount": whole(1, 1, 64)}, ("LATENT",)),
    "SetLatentNoiseMask": Definition({"samples": LATENT, "mask": MASK}, ("LATENT",)),
    "VAEDecode": Definition({"samples": LATENT, "vae": VAE}, ("IMAGE",)),
    "VAEEncode": Definition({"pixels": IMAGE, "vae": VAE}, ("LATENT",)),
    "VAEDecodeTiled": Definition({"samples": LATENT, "vae": VAE} | TILES, ("IMAGE",)),
    "VAEEncodeTiled": Definition({"pixels": IMAGE, "vae": VAE} | TILES, ("LATENT",)),
    "VAEEncodeForInpaint": Definition(
        {"pixels": IMAGE, "vae": VAE, "mask": MASK, "grow_mask_by": whole(6, 0, 64)},
        ("LATENT",),
    ),
}

SAMPLING = {
    "KSampler": Definition(
        {
            "model": MODEL,
            "seed": left_out(SEED),
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
            "noise_seed": left_out(SEED),
            "steps": STEPS,
            "cfg": CFG,
            "sampler_name": SAMPLER,
            "scheduler": SCHEDULER,
            "positive": CONDITIONING,
            "negative": CONDITIONING,
            "latent_image": LATENT,
            "start_at_step": whole(0, 0, 10_000),
            "end_at_step": whole(10_000, 0, 10_000),
            "return_with_leftover_noise": one_of("disable", "enable"),
        },
        ("LATENT",),
    ),
    "SamplerCustom": Definition(
        {
            "model": MODEL,
            "add_noise": Input("BOOLEAN", True),
            "noise_seed": left_out(SEED),
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
    "RandomNoise": Definition({"noise_seed": left_out(SEED)}, ("NOISE",)),
    "DisableNoise": Definition({}, ("NOISE",)),
    "BasicGuider": Definition({"model": MODEL, "conditioning": CONDITIONING}, ("GUIDER",)),
    "CFGGuider": Definition(
        {"model": MODEL, "positive": CONDITIONING, "negative": CONDITIONING, "cfg": CFG},
        ("GUIDER",),
    ),
    "KSamplerSelect": Definition({"sampler_name": SAMPLER}, ("SAMPLER",)),
    "BasicScheduler": Definition(
        {"model": MODEL, "scheduler": SCHEDULER, "steps": STEPS, "denoise": DENOISE}, ("SIGMAS",)
    ),
    "Flux2Scheduler": Definition(
        {
            "steps": STEPS,
            "width": edge(1024),
            "height": edge(1024),
        },
        ("SIGMAS",),
    ),
    "SDTurboScheduler": Definition(
        {"model": MODEL, "steps": whole(1, 1, 10), "denoise": DENOISE}, ("SIGMAS",)
    ),
}

PICTURES = {
    "LoadImage": Definition({"image": text()}, ("IMAGE", "MASK")),
    "LoadImageMask": Definition(
        {"image": text(), "channel": one_of("alpha", "red", "green", "blue")}, ("MASK",)
    ),
    "ImageToMask": Definition(
        {"image": IMAGE, "channel": one_of("red", "green", "blue", "alpha")}, ("MASK",)
    ),
    "ImageBatch": Definition({"image1": IMAGE, "image2": IMAGE}, ("IMAGE",)),
    "ImageInvert": Definition({"image": IMAGE}, ("IMAGE",)),
    "ImageCrop": Definition(
        {
            "image": IMAGE,
            "width": whole(512, 16, 16_384),
            "height": whole(512, 16, 16_384),
            "x": whole(0, 0, 16_384),
            "y": whole(0, 0, 16_384),
        },
        ("IMAGE",),
    ),
    "ImagePadForOutpaint": Definition(
        {
            "image": IMAGE,
            "left": whole(0, 0, 16_384),
            "top": whole(0, 0, 16_384),
            "right": whole(0, 0, 16_384),
            "bottom": whole(0, 0, 16_384),
            "feathering": whole(40, 0, 16_384),
        },
        ("IMAGE", "MASK"),
    ),
    "ImageScale": Definition(
        {
            "image": IMAGE,
            "upscale_method": UPSCALE,
            "width": whole(512, 0, 16_384),
            "height": whole(512, 0, 16_384),
            "crop": CROP,
        },
        ("IMAGE",),
    ),
    "ImageScaleBy": Definition(
        {"image": IMAGE, "upscale_method": UPSCALE, "scale_by": real(1.0, 0.01, 8)}, ("IMAGE",)
    ),
    "ImageScaleToTotalPixels": Definition(
        {
            "image": IMAGE,
            "upscale_method": UPSCALE,
            "megapixels": real(1.0, 0.01, 16),
            "resolution_steps": left_out(whole(1, 1, 256)),
        },
        ("IMAGE",),
    ),
    "FluxKontextImageScale": Definition({"image": IMAGE}, ("IMAGE",)),
    "SaveImage": Definition({"images": IMAGE, "filename_prefix": label("ComfyUI")}, is_output=True),
    "PreviewImage": Definition({"images": IMAGE}, is_output=True),
    "ComfyDeployOutputImage": Definition(
        {
            "images": IMAGE,
            "filename_prefix": label("ComfyUI"),
            "file_type": left_out(Input("COMBO", "webp", options=("png", "jpg", "webp"))),
            "quality": left_out(whole(80, 1, 100)),
            "output_id": left_out(label("output_images")),
        },
        is_output=True,
    ),
}

PRIMITIVES = {
    "PrimitiveInt": Definition({"value": Input("INT")}, ("INT",)),
    "PrimitiveFloat": Definition({"value": Input("FLOAT")}, ("FLOAT",)),
    "PrimitiveString": Definition({"value": text()}, ("STRING",)),
    "PrimitiveStringMultiline": Definition({"value": text()}, ("STRING",)),
    "PrimitiveBoolean": Definition({"value": Input("BOOLEAN")}, ("BOOLEAN",)),
    "StringConcatenate": Definition(
        {"string_a": text(), "string_b": text(), "delimiter": text("")}, ("STRING",)
    ),
}

TABLE: dict[str, Definition] = (
    LOADERS
    | CONDITIONINGS
    | CONTROLS
    | PATCHES
    | LATENTS
    | SAMPLING
    | PICTURES
    | SHAPES
    | MEASURES
    | PRIMITIVES
    | EXTERNALS
)
"""Every class of nodes that compiles."""
