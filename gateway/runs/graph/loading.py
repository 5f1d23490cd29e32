"""Loaders, LoRAs and what is said about a model's sampling."""

from typing import Any

import msgspec

from gateway.catalog.cards import EndpointCard
from gateway.catalog.catalog import Catalog
from gateway.job import AdapterUse
from gateway.runs.graph.names import (
    adapter_named,
    checkpoint_names,
    endpoints_named,
    is_fused,
    lora_names,
    unpinned,
)
from gateway.runs.graph.refusal import NodeFault, not_in_list, out_of_range
from gateway.runs.graph.scope import Compile, Node, Scope
from gateway.runs.graph.values import Clip, Model


def checkpoint(node: Node, scope: Scope) -> tuple[Model, Clip, None]:
    """CheckpointLoaderSimple: an endpoint by its file's name."""
    return _model(node, scope, "ckpt_name"), Clip(), None


def unet(node: Node, scope: Scope) -> tuple[Model]:
    """UNETLoader: the endpoint brings the text encoders and VAE it was made with."""
    return (_model(node, scope, "unet_name"),)


def clip(node: Node, scope: Scope) -> tuple[Clip]:
    """Any CLIP loader: its files come with the endpoint, its type tells the family."""
    return (Clip(node.get("type", "sd3")),)


def vae(node: Node, scope: Scope) -> tuple[None]:
    """VAELoader: the endpoint's own is used."""
    return (None,)


def lora(node: Node, scope: Scope) -> tuple[Model, Clip]:
    """LoraLoader: one scale multiplies the whole adapter."""
    (model,) = lora_model_only(node, scope)
    if node["strength_clip"] != node["strength_model"]:
        scope.note(node, "strength_model scales the text encoders' part as well")
    return model, node["clip"]


def lora_model_only(node: Node, scope: Scope) -> tuple[Model]:
    """LoraLoaderModelOnly: an adapter, unless it is fused into the endpoint already."""
    model: Model = node["model"]
    (name, digest), strength = unpinned(node["lora_name"]), node["strength_model"]
    if strength == 0:
        return (model,)
    fused = tuple(card for card in model.candidates if is_fused(card, name) is not None)
    if fused:
        scale = is_fused(fused[0], name)
        if strength != scale:
            raise node.refuse("strength_model", f"it is fused into the endpoint at {scale}")
        if digest:
            raise node.refuse("lora_name", "it is fused into the endpoint, whose digest holds it")
        return (msgspec.structs.replace(model, candidates=fused),)
    having = tuple(card for card in model.candidates if adapter_named(scope.catalog, card, name))
    if not having:
        options = lora_names(scope.catalog, model.candidates)
        raise NodeFault(not_in_list("lora_name", name, options))
    use = _use(scope.catalog, having[0], name, strength)
    adapters = _added(model.adapters, use)
    pins = {f"{card.id}:{use.route}": digest for card in having} if digest else {}
    if any(model.pins.get(id, digest) != digest for id in pins):
        raise node.refuse("lora_name", "it is loaded with other weights already")
    return (
        msgspec.structs.replace(
            model, candidates=having, adapters=adapters, pins=model.pins | pins
        ),
    )


def sampling_discrete(node: Node, scope: Scope) -> tuple[Model]:
    """ModelSamplingDiscrete: what the model predicts."""
    kinds = {"eps": "epsilon", "v_prediction": "v_prediction", "x0": "sample"}
    config: dict[str, Any] = {}
    if node["sampling"] in kinds:
        config["prediction_type"] = kinds[node["sampling"]]
    if node["zsnr"]:
        config["rescale_betas_zero_snr"] = True
    return (_configured(node["model"], config),)


def sampling_shift(node: Node, scope: Scope) -> tuple[Model]:
    """ModelSamplingSD3 and AuraFlow: one shift of the schedule."""
    config = {"shift": node["shift"], "use_dynamic_shifting": False}
    return (_configured(node["model"], config),)


def sampling_flux(node: Node, scope: Scope) -> tuple[Model]:
    """ModelSamplingFlux: the shift grows with the picture."""
    config = {"max_shift": node["max_shift"], "base_shift": node["base_shift"]}
    return (_configured(node["model"], config),)


def _model(node: Node, scope: Scope, name: str) -> Model:
    file, digest = unpinned(node[name])
    found = endpoints_named(scope.catalog, file)
    if not found:
        raise NodeFault(not_in_list(name, file, checkpoint_names(scope.catalog.endpoints.values())))
    return Model(candidates=found, pins={card.id: digest for card in found} if digest else {})


def _use(catalog: Catalog, card: EndpointCard, name: str, strength: float) -> AdapterUse:
    adapter = adapter_named(catalog, card, name)
    assert adapter is not None
    low, high = adapter.scale_range
    if not low <= strength <= high:
        bound = high if strength > high else low
        why = f"the adapter {adapter.id} takes {low:g} to {high:g}"
        above = strength > high
        raise NodeFault(out_of_range("strength_model", strength, bound, above=above, why=why))
    return AdapterUse(adapter.route, strength)


def _added(uses: tuple[AdapterUse, ...], use: AdapterUse) -> tuple[AdapterUse, ...]:
    """The same file loaded twice adds up, as it does in ComfyUI."""
    if all(other.route != use.route for other in uses):
        return (*uses, use)
    return tuple(
        AdapterUse(use.route, other.scale + use.scale) if other.route == use.route else other
        for other in uses
    )


def _configured(model: Model, config: dict[str, Any]) -> Model:
    return msgspec.structs.replace(model, config=model.config | config)


COMPILERS: dict[str, Compile] = {
    "CheckpointLoaderSimple": checkpoint,
    "UNETLoader": unet,
    "CLIPLoader": clip,
    "DualCLIPLoader": clip,
    "TripleCLIPLoader": clip,
    "QuadrupleCLIPLoader": clip,
    "VAELoader": vae,
    "LoraLoader": lora,
    "LoraLoaderModelOnly": lora_model_only,
    "ModelSamplingDiscrete": sampling_discrete,
    "ModelSamplingSD3": sampling_shift,
    "ModelSamplingAuraFlow": sampling_shift,
    "ModelSamplingFlux": sampling_flux,
}
