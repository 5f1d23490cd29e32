"""Graphs in the shape that people share, one per kind of few-step model."""

from typing import Any

from gateway.catalog.cards import (
    AdapterCard,
    EndpointCard,
    FusedLora,
    Guidance,
    Scheduler,
    Sizes,
    Steps,
)
from gateway.catalog.catalog import Catalog

Graph = dict[str, Any]


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def catalog() -> Catalog:
    """Endpoints as their cards would declare them."""
    classic = EndpointCard(
        id="sd15",
        source="org/stable-diffusion-v1-5",
        steps=Steps(max=50, default=20),
        guidance=Guidance(default=7.5),
        sizes=Sizes(native=(512, 512), multiple_of=8),
        aliases=("v1-5-pruned-emaonly.safetensors",),
    )
    lcm = EndpointCard(
        id="lcm-sd15",
        source="org/stable-diffusion-v1-5",
        steps=Steps(max=8),
        guidance=Guidance(default=1.0, max=2.0),
        scheduler=Scheduler(cls="LCMScheduler"),
        fused=(FusedLora("org/lcm-lora-sdv1-5", "pytorch_lora_weights.safetensors"),),
        aliases=("v1-5-pruned-emaonly.safetensors",),
    )
    lightning = EndpointCard(
        id="sdxl-lightning",
        source="org/stable-diffusion-xl-base-1.0",
        steps=Steps(min=1, max=8),
        guidance=Guidance(default=0.0, max=2.0),
        scheduler=Scheduler(cls="EulerDiscreteScheduler", config={"timestep_spacing": "trailing"}),
        fused=(FusedLora("org/SDXL-Lightning", "sdxl_lightning_4step_lora.safetensors"),),
        aliases=("sd_xl_base_1.0.safetensors",),
    )
    turbo = EndpointCard(
        id="sdxl-turbo",
        source="org/sdxl-turbo",
        steps=Steps(max=4, default=1),
        guidance=Guidance(default=0.0, max=0.0),
        sizes=Sizes(native=(512, 512)),
        aliases=("sd_xl_turbo_1.0_fp16.safetensors",),
    )
    schnell = EndpointCard(
        id="flux-schnell",
        source="org/FLUX.1-schnell",
        guidance=Guidance(default=0.0, max=5.0),
        aliases=("flux1-schnell.safetensors",),
    )
    kontext = EndpointCard(
        id="kontext",
        source="org/FLUX.1-Kontext-dev",
        steps=Steps(max=28),
        edit_pipeline="FluxKontextPipeline",
        aliases=("flux1-dev-kontext_fp8_scaled.safetensors",),
    )
    pixel = AdapterCard(endpoint="sd15", route="pixel-art", source="pixel.safetensors")
    fast = AdapterCard(
        endpoint="sd15",
        route="lcm",
        source="lcm.safetensors",
        aliases=("lcm_lora_weights.safetensors",),
        scale_range=(0.0, 2.0),
    )
    cards = [classic, lcm, lightning, turbo, schnell, kontext]
    return Catalog(
        {card.id: card for card in cards},
        {("sd15", "pixel-art"): pixel, ("sd15", "lcm"): fast},
    )


def text_to_image(**sampler: Any) -> Graph:
    """SD 1.5, the graph that ComfyUI opens with."""
    given = {
        "model": ["4", 0],
        "seed": 156680208700286,
        "steps": 20,
        "cfg": 8,
        "sampler_name": "euler",
        "scheduler": "normal",
        "positive": ["6", 0],
        "negative": ["7", 0],
        "latent_image": ["5", 0],
        "denoise": 1,
    }
    return {
        "3": node("KSampler", **(given | sampler)),
        "4": node("CheckpointLoaderSimple", ckpt_name="v1-5-pruned-emaonly.safetensors"),
        "5": node("EmptyLatentImage", width=512, height=512, batch_size=1),
        "6": node("CLIPTextEncode", text="a lighthouse in fog", clip=["4", 1]),
        "7": node("CLIPTextEncode", text="text, watermark", clip=["4", 1]),
        "8": node("VAEDecode", samples=["3", 0], vae=["4", 2]),
        "9": node("SaveImage", filename_prefix="ComfyUI", images=["8", 0]),
    }


def image_to_image() -> Graph:
    graph = text_to_image(latent_image=["12", 0], denoise=0.75, sampler_name="dpmpp_2m")
    graph["10"] = node("LoadImage", image="example.png", upload="image")
    graph["12"] = node("VAEEncode", pixels=["10", 0], vae=["4", 2])
    del graph["5"]
    return graph


def inpaint() -> Graph:
    graph = text_to_image(latent_image=["12", 0], sampler_name="uni_pc_bh2")
    graph["10"] = node("LoadImage", image="yosemite.png")
    graph["12"] = node(
        "VAEEncodeForInpaint", pixels=["10", 0], vae=["4", 2], mask=["10", 1], grow_mask_by=6
    )
    del graph["5"]
    return graph


def lora_with_lcm() -> Graph:
    graph = text_to_image(
        model=["11", 0], steps=4, cfg=1.5, sampler_name="lcm", scheduler="sgm_uniform"
    )
    graph["10"] = node(
        "LoraLoader",
        model=["12", 0],
        clip=["12", 1],
        lora_name="lcm_lora_weights.safetensors",
        strength_model=1,
        strength_clip=1,
    )
    graph["11"] = node("ModelSamplingDiscrete", model=["10", 0], sampling="lcm", zsnr=False)
    graph["12"] = node(
        "LoraLoader",
        model=["4", 0],
        clip=["4", 1],
        lora_name="styles/pixel_art.safetensors",
        strength_model=0.8,
        strength_clip=0.8,
    )
    graph["6"]["inputs"]["clip"] = graph["7"]["inputs"]["clip"] = ["10", 1]
    return graph


def lightning_lora() -> Graph:
    graph = text_to_image(
        model=["10", 0], steps=4, cfg=1, sampler_name="euler", scheduler="sgm_uniform"
    )
    graph["4"] = node("CheckpointLoaderSimple", ckpt_name="sd_xl_base_1.0.safetensors")
    graph["5"] = node("EmptyLatentImage", width=1024, height=1024, batch_size=2)
    graph["10"] = node(
        "LoraLoaderModelOnly",
        model=["4", 0],
        lora_name="sdxl_lightning_4step_lora.safetensors",
        strength_model=1,
    )
    return graph


def turbo() -> Graph:
    return {
        "5": node("EmptyLatentImage", width=512, height=512, batch_size=1),
        "6": node("CLIPTextEncode", text="a bottle with a galaxy", clip=["20", 1]),
        "7": node("CLIPTextEncode", text="text, watermark", clip=["20", 1]),
        "8": node("VAEDecode", samples=["13", 0], vae=["20", 2]),
        "13": node(
            "SamplerCustom",
            model=["20", 0],
            add_noise=True,
            noise_seed=0,
            cfg=1,
            positive=["6", 0],
            negative=["7", 0],
            sampler=["14", 0],
            sigmas=["22", 0],
            latent_image=["5", 0],
        ),
        "14": node("KSamplerSelect", sampler_name="euler_ancestral"),
        "20": node("CheckpointLoaderSimple", ckpt_name="sd_xl_turbo_1.0_fp16.safetensors"),
        "22": node("SDTurboScheduler", model=["20", 0], steps=1, denoise=1),
        "27": node("SaveImage", images=["8", 0], filename_prefix="turbo"),
    }


def flux() -> Graph:
    return {
        "5": node("EmptySD3LatentImage", width=1024, height=768, batch_size=1),
        "6": node("CLIPTextEncode", text="a crystal clear lake", clip=["11", 0]),
        "8": node("VAEDecode", samples=["13", 0], vae=["10", 0]),
        "9": node("SaveImage", images=["8", 0], filename_prefix="flux"),
        "10": node("VAELoader", vae_name="ae.safetensors"),
        "11": node(
            "DualCLIPLoader",
            clip_name1="t5xxl_fp16.safetensors",
            clip_name2="clip_l.safetensors",
            type="flux",
        ),
        "12": node("UNETLoader", unet_name="flux1-schnell.safetensors", weight_dtype="default"),
        "13": node(
            "SamplerCustomAdvanced",
            noise=["25", 0],
            guider=["22", 0],
            sampler=["16", 0],
            sigmas=["17", 0],
            latent_image=["5", 0],
        ),
        "16": node("KSamplerSelect", sampler_name="euler"),
        "17": node("BasicScheduler", model=["12", 0], scheduler="simple", steps=4, denoise=1),
        "22": node("BasicGuider", model=["12", 0], conditioning=["26", 0]),
        "25": node("RandomNoise", noise_seed=219670278747233),
        "26": node("FluxGuidance", conditioning=["6", 0], guidance=3.5),
    }


def deployed() -> Graph:
    """A graph with inputs that requests fill, and an output of the deploy nodes."""
    graph = text_to_image(seed=["31", 0], steps=["32", 0])
    graph["6"]["inputs"]["text"] = ["30", 0]
    graph["4"]["inputs"]["ckpt_name"] = ["33", 0]
    graph["30"] = node(
        "ComfyUIDeployExternalText",
        input_id="prompt",
        default_value="a cat",
        display_name="Prompt",
        description="What to paint",
    )
    graph["31"] = node(
        "ComfyUIDeployExternalSeed",
        input_id="seed",
        default_value=-1,
        min_value=1,
        max_value=4294967295,
    )
    graph["32"] = node("ComfyUIDeployExternalNumberInt", input_id="steps", default_value=4)
    graph["33"] = node("ComfyUIDeployExternalCheckpoint", input_id="model", default_value="sd15")
    graph["9"] = node(
        "ComfyDeployOutputImage",
        images=["8", 0],
        filename_prefix="out",
        file_type="webp",
        quality=80,
        output_id="result",
    )
    return graph
