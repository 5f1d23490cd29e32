"""What a single file is, told by its head; the names and shapes are the published models' own."""

from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.catalog.cards import CardError
from gateway.catalog.catalog import Model
from gateway.catalog.folders import load_catalog
from gateway.catalog.heads.layouts import config_of, sections_of
from gateway.catalog.sources.hub import check_hub
from gateway.catalog.survey.inspection import NotHereError
from gateway.catalog.survey.survey import fault_of
from gateway.fetching.fetching import plan_of
from tests.catalog.making import Shapes, hollow, hollow_gguf, write

UNET = "model.diffusion_model."
PUBLISHED: dict[str, tuple[str, dict[str, tuple[int, ...]]]] = {
    "SD 1.5": (
        "stable-diffusion-v1-5/stable-diffusion-v1-5",
        {UNET + "output_blocks.11.0.skip_connection.weight": (320, 640, 1, 1),
         UNET + "input_blocks.0.0.weight": (320, 4, 3, 3)},
    ),
    "SD 1.5 inpainting": (
        "stable-diffusion-v1-5/stable-diffusion-inpainting",
        {UNET + "input_blocks.0.0.weight": (320, 9, 3, 3)},
    ),
    "SD 2.1": (
        "stabilityai/stable-diffusion-2-1",
        {UNET + "input_blocks.2.1.transformer_blocks.0.attn2.to_k.weight": (320, 1024)},
    ),
    "SDXL": (
        "stabilityai/stable-diffusion-xl-base-1.0",
        {"conditioner.embedders.1.model.transformer.resblocks.9.mlp.c_proj.bias": (1280,)},
    ),
    "SD 3 medium": (
        "stabilityai/stable-diffusion-3-medium-diffusers",
        {"joint_blocks.0.context_block.adaLN_modulation.1.bias": (9216,),
         "pos_embed": (1, 36864, 1536)},
    ),
    "SD 3.5 large": (
        "stabilityai/stable-diffusion-3.5-large",
        {UNET + "joint_blocks.37.x_block.mlp.fc1.weight": (9728, 2432)},
    ),
    "FLUX.1 schnell": (
        "black-forest-labs/FLUX.1-schnell",
        {"double_blocks.0.img_attn.norm.key_norm.scale": (128,)},
    ),
    "FLUX.1 dev": (
        "black-forest-labs/FLUX.1-dev",
        {"double_blocks.0.img_attn.norm.key_norm.scale": (128,),
         "guidance_in.in_layer.bias": (3072,), "img_in.weight": (3072, 64)},
    ),
    "FLUX.1 Fill": (
        "black-forest-labs/FLUX.1-Fill-dev",
        {"double_blocks.0.img_attn.norm.key_norm.scale": (128,),
         "guidance_in.in_layer.bias": (3072,), "img_in.weight": (3072, 384)},
    ),
    "FLUX.2 klein 4B": (
        "black-forest-labs/FLUX.2-klein-4B",
        {"single_stream_modulation.lin.weight": (9216, 3072), "img_in.weight": (3072, 128)},
    ),
    "FLUX.2 dev of Comfy": (
        "black-forest-labs/FLUX.2-dev",
        {UNET + "single_stream_modulation.lin.weight": (18432, 6144),
         UNET + "img_in.weight": (6144, 128)},
    ),
    "Chroma": ("lodestones/Chroma1-HD", {"distilled_guidance_layer.in_proj.bias": (5120,)}),
    "Z-Image": ("Tongyi-MAI/Z-Image-Turbo", {"layers.0.adaLN_modulation.0.weight": (15360, 256)}),
    "Lumina 2": ("Alpha-VLLM/Lumina-Image-2.0", {"cap_embedder.0.weight": (2304,)}),
    "Sana": (
        "Efficient-Large-Model/Sana_1600M_1024px_diffusers",
        {"blocks.0.cross_attn.q_linear.weight": (2240, 2240)},
    ),
    "Qwen-Image": (
        "Qwen/Qwen-Image",
        {"transformer_blocks.0.img_mod.1.weight": (18432, 3072), "img_in.weight": (3072, 64)},
    ),
    **{
        f"UNet of {repository}{told}": (
            repository,
            {names[0]: (320, depth, 3, 3), names[1] + ".attn2.to_k.weight": (320, width)},
        )
        for repository, depth, width in (
            ("stable-diffusion-v1-5/stable-diffusion-v1-5", 4, 768),
            ("stable-diffusion-v1-5/stable-diffusion-inpainting", 9, 768),
            ("stabilityai/stable-diffusion-2-1", 4, 1024),
            ("stabilityai/stable-diffusion-xl-base-1.0", 4, 2048),
            ("diffusers/stable-diffusion-xl-1.0-inpainting-0.1", 9, 2048),
            ("stabilityai/stable-diffusion-xl-refiner-1.0", 4, 1280),
        )
        for told, names in {
            "": ("input_blocks.0.0.weight", "input_blocks.4.1.transformer_blocks.0"),
            " of Comfy": (f"{UNET}input_blocks.0.0.weight",
                          f"{UNET}input_blocks.4.1.transformer_blocks.0"),
            " of diffusers": ("conv_in.weight",
                              "down_blocks.1.attentions.0.transformer_blocks.0"),
        }.items()
    },
    "Krea 2": ("krea/Krea-2-Raw", {"txtfusion.projector.weight": (8, 8)}),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_layout_tells_whose_configs_it_goes_with(tmp_path: Path, name: str) -> None:
    repository, shapes = PUBLISHED[name]
    assert config_of(hollow(tmp_path / "model.safetensors", shapes)) == repository
    assert config_of(hollow_gguf(tmp_path / "model.gguf", shapes)) == repository


@pytest.mark.parametrize(
    ("layout", "stem", "repository"),
    [
        ("FLUX.1 dev", "flux1-kontext-dev-Q4_K_M", "black-forest-labs/FLUX.1-Kontext-dev"),
        ("FLUX.1 dev", "flux1-dev-Q8_0", "black-forest-labs/FLUX.1-dev"),
        ("Qwen-Image", "Qwen-Image-Edit-2511-Q4_K_M", "Qwen/Qwen-Image-Edit-2511"),
        ("Qwen-Image", "qwen_image_edit_2509_fp8", "Qwen/Qwen-Image-Edit-2509"),
        ("Qwen-Image", "qwen-image-edit-Q3_K_S", "Qwen/Qwen-Image-Edit"),
    ],
)
def test_models_of_one_shape_are_told_by_their_files_names(
    tmp_path: Path, layout: str, stem: str, repository: str
) -> None:
    _, shapes = PUBLISHED[layout]
    assert config_of(hollow_gguf(tmp_path / f"{stem}.gguf", shapes)) == repository


def test_a_bare_file_is_an_endpoint_by_its_stem(tmp_path: Path) -> None:
    _, shapes = PUBLISHED["SD 3.5 large"]
    hollow(tmp_path / "mine_v9.safetensors", shapes)
    catalog = load_catalog((tmp_path,), ())
    assert list(catalog.endpoints) == ["mine_v9"]
    fault = fault_of(Model(catalog.endpoints["mine_v9"]), catalog)
    assert isinstance(fault, NotHereError)
    assert "'config' = 'stabilityai/stable-diffusion-3.5-large'" in fault.reason


def test_what_a_file_has_none_of_is_to_be_fetched_or_named(tmp_path: Path) -> None:
    _, shapes = PUBLISHED["SDXL"]
    more = {f"{UNET}x": (1, 1), "conditioner.embedders.0.x": (1, 1)}
    hollow(tmp_path / "juggernaut_v9.safetensors", shapes | more)
    catalog = load_catalog((tmp_path,), ())
    fault = fault_of(Model(catalog.endpoints["juggernaut_v9"]), catalog)
    assert isinstance(fault, NotHereError)
    assert fault.reason == (
        "vae: its weights are missing; juggernaut_v9.safetensors has none of them, and key "
        "'components.vae' names a file that has"
    )


@pytest.mark.parametrize(("ending", "make"), [(".safetensors", hollow), (".gguf", hollow_gguf)])
def test_a_file_whose_configs_cannot_be_had_says_the_three_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, make: Callable[..., Path]
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    repository, shapes = PUBLISHED["SDXL"]
    file = make(tmp_path / f"juggernaut{ending}", shapes)
    model = Model(load_catalog((tmp_path,), ()).endpoints["juggernaut"])
    for attempt in (check_hub, lambda card: plan_of(Model(card))):
        with pytest.raises(CardError, match=f"key 'config' = '{repository}': .*cannot be") as told:
            attempt(model.endpoint)
        lines = f'id = "juggernaut", source = "{file.name}", config = "FOLDER"'
        assert lines in told.value.reason


def test_a_file_that_a_card_names_is_no_endpoint_of_its_own(tmp_path: Path) -> None:
    hollow(tmp_path / "vae.safetensors", {"decoder.conv_in.weight": (2, 2)})
    hollow(tmp_path / "x.safetensors", {"decoder.conv_in.weight": (2, 2)})
    write(tmp_path / "own.toml", 'id = "own"\nsource = "x.safetensors"\n'
          'components.vae = "vae.safetensors"\n')
    catalog = load_catalog((tmp_path,), ())
    assert list(catalog.endpoints) == ["own"]
    assert not catalog.passed_over


@pytest.mark.parametrize(
    ("shapes", "says"),
    [
        ({"odd.weight": (2, 2)}, """wanted a card with id = "odd", source = "odd.safetensors", """),
        ({"lora_unet_down.lora_down.weight": (2, 2)}, "a LoRA, and belongs into the folder adapt"),
        ({"decoder.conv_in.weight": (2, 2), "encoder.down.0.weight": (2, 2)}, "components.vae"),
        ({"text_model.encoder.layers.0.mlp.fc1.weight": (2, 2)}, "components.text_encoder"),
        ({"encoder.block.0.weight": (2, 2), "shared.weight": (2, 2)}, "components.text_encoder"),
        ({"model.0.weight": (2, 2), "model.1.sub.0.weight": (2, 2)}, "an upscaler"),
        ({"image_proj.ip_adapter": (2, 2)}, "folder controlnets/ENDPOINT/NAME, beside its image"),
        ({"redux_up.weight": (2, 2)}, "a Redux, which is not read here"),
        ({"head.modulation": (1, 2, 1536), "patch_embedding.weight": (1536, 16, 1, 2, 2)},
         "odd.safetensors: makes videos, not pictures"),
        ({"emb_params": (2, 2)}, "a textual inversion, and belongs into the folder embeddings/EN"),
    ],
)
def test_a_file_of_no_known_layout_is_told(tmp_path: Path, shapes: Shapes, says: str) -> None:
    hollow(tmp_path / "odd.safetensors", shapes)
    catalog = load_catalog((tmp_path,), ())
    fault = fault_of(Model(catalog.endpoints["odd"]), catalog)
    assert fault is not None
    assert says in fault.reason


@pytest.mark.parametrize(
    ("shapes", "says"),
    [
        ({"enc.blk.0.attn_q.weight": (2, 2), "token_embd.weight": (2, 2),
          "enc.output_norm.weight": (2,)}, "a text encoder alone"),
        ({"blk.0.attn_q.weight": (2, 2), "output.weight": (2, 2)}, "a text encoder alone"),
        ({"v.blk.0.attn_q.weight": (2, 2), "mm.0.weight": (2, 2)}, "a text encoder alone"),
        ({"decoder.conv_in.weight": (2, 2)}, "components.vae"),
        ({"odd.weight": (2, 2)}, """wanted a card with id = "odd", source = "odd.gguf", """),
    ],
)  # fmt: skip
def test_a_gguf_of_no_model_is_told(tmp_path: Path, shapes: Shapes, says: str) -> None:
    hollow_gguf(tmp_path / "odd.gguf", shapes)
    catalog = load_catalog((tmp_path,), ())
    fault = fault_of(Model(catalog.endpoints["odd"]), catalog)
    assert fault is not None
    assert says in fault.reason


def test_sections_are_told_apart(tmp_path: Path) -> None:
    names = (f"{UNET}a", "vae.decoder.b", "text_encoders.t5xxl.transformer.c")
    file = hollow(tmp_path / "all.safetensors", dict.fromkeys(names, (1, 1)))
    assert sections_of(file) == {"denoiser", "vae", "T5Encoder"}
