"""Models of the catalogue as the ComfyDeploy API describes them."""

from typing import Any

import msgspec

from gateway.catalog.catalog import Catalog, Model
from gateway.outside.parameters import MAX_SEED, NAMED_SIZES
from gateway.runs.graph.externals import PREFIX, InputDefinition


def model_inputs(model: Model, catalog: Catalog) -> list[InputDefinition]:
    """The parameters that a model's run takes, with the card's defaults and ranges."""
    card = model.endpoint
    width, height = card.sizes.native
    steps, guidance = card.steps, card.guidance
    found = [
        InputDefinition("string", f"{PREFIX}Text", "prompt", "", description="What to draw"),
        InputDefinition("string", f"{PREFIX}Text", "negative_prompt", ""),
        InputDefinition(
            "string",
            f"{PREFIX}Enum",
            "image_size",
            f"{width}x{height}",
            description="WIDTHxHEIGHT in pixels, or a name",
            enum_options=[f"{width}x{height}", *_named_sizes(model)],
        ),
        _number("num_inference_steps", "integer", steps.default, steps.min, steps.max),
        _number("guidance_scale", "float", guidance.default, guidance.min, guidance.max),
        InputDefinition(
            "string",
            f"{PREFIX}Enum",
            "scheduler",
            "",
            description="A sampler or a scheduler class; empty for the model's own",
            enum_options=catalog.schedulers(card.id),
        ),
        _number("seed", "integer", -1, -1, MAX_SEED),
        _number("n", "integer", 1, 1, 10),
        _choice("output_format", "png", "jpeg", "webp"),
    ]
    if card.matting:
        found.append(_choice("background", "opaque", "transparent"))
    if card.edits:
        found += [
            InputDefinition("string", f"{PREFIX}Image", "image", ""),
            InputDefinition("string", f"{PREFIX}ImageAlpha", "mask", ""),
            _number("strength", "float", 0.8, 0.0, 1.0),
        ]
    return found


def model_object(model: Model, catalog: Catalog) -> dict[str, Any]:
    """A model as `GET /models` lists it."""
    return {
        "id": model.id,
        "name": model.id,
        "description": (model.adapter or model.endpoint).description,
        "inputs": [_input(definition) for definition in model_inputs(model, catalog)],
        "outputs": [{"class_type": "ComfyDeployStdOutputImage", "output_id": "output_images"}],
    }


def _input(definition: InputDefinition) -> dict[str, Any]:
    shown: dict[str, Any] = msgspec.to_builtins(definition)
    options = shown.pop("enum_options", None)
    if options is not None:
        shown["enum_values"] = options
    return shown | {"required": definition.input_id == "prompt"}


def _number(
    name: str, kind: str, default: float | None, low: float, high: float
) -> InputDefinition:
    cls = f"{PREFIX}NumberInt" if kind == "integer" else f"{PREFIX}Number"
    return InputDefinition(kind, cls, name, default, low, high)


def _choice(name: str, *options: str) -> InputDefinition:
    """One of a few words, the first by default."""
    return InputDefinition("string", f"{PREFIX}Enum", name, options[0], enum_options=list(options))


def _named_sizes(model: Model) -> list[str]:
    sizes = model.endpoint.sizes
    return [
        name
        for name, pair in NAMED_SIZES.items()
        if all(sizes.min <= edge <= sizes.max for edge in pair)
    ]
