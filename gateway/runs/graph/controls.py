"""ControlNets in a graph: loaded by name, and applied to what a sampler is guided by."""

from typing import Any

import msgspec

from gateway.catalog.cards import EndpointCard
from gateway.runs.graph.definition import Definition, Input, left_out, one_of, real
from gateway.runs.graph.names import control_named
from gateway.runs.graph.refusal import NodeFault, not_in_list
from gateway.runs.graph.scope import Compile, Node, Scope
from gateway.runs.graph.values import Conditioning, Control, ControlNet

MAX_CONTROLS = 8
_CONDITIONING, _NET = Input("CONDITIONING"), Input("CONTROL_NET")
_IMAGE, _VAE = Input("IMAGE"), left_out(Input("VAE"))
_STRENGTH, _SPAN = real(1.0, 0, 10), (real(0.0, 0, 1), real(1.0, 0, 1))
_APPLIED = {
    "positive": _CONDITIONING, "negative": _CONDITIONING, "control_net": _NET, "image": _IMAGE,
    "strength": _STRENGTH, "start_percent": _SPAN[0], "end_percent": _SPAN[1], "vae": _VAE,
}  # fmt: skip

_MODES = (
    "openpose", "depth", "hed/pidi/scribble/ted", "canny/lineart/anime_lineart/mlsd", "normal",
    "segment", "tile", "repaint",
)  # fmt: skip
"""What a net of several kinds is told that it is shown, by number."""

CONTROLS = {
    "ControlNetLoader": Definition({"control_net_name": Input("COMBO")}, ("CONTROL_NET",)),
    "SetUnionControlNetType": Definition(
        {"control_net": _NET, "type": one_of("auto", *_MODES)}, ("CONTROL_NET",)
    ),
    "DiffControlNetLoader": Definition(
        {"model": Input("MODEL"), "control_net_name": Input("COMBO")}, ("CONTROL_NET",)
    ),
    "ControlNetApply": Definition(
        {"conditioning": _CONDITIONING, "control_net": _NET, "image": _IMAGE,
         "strength": _STRENGTH},
        ("CONDITIONING",),
    ),
    "ControlNetApplyAdvanced": Definition(_APPLIED, ("CONDITIONING", "CONDITIONING")),
    "ControlNetApplySD3": Definition(_APPLIED, ("CONDITIONING", "CONDITIONING")),
}  # fmt: skip


def load(node: Node, scope: Scope) -> tuple[ControlNet]:
    """ControlNetLoader: a net by its file's name, of whichever endpoint the sampler has."""
    return (ControlNet(node.id, node["control_net_name"]),)


def told(node: Node, scope: Scope) -> tuple[ControlNet]:
    """SetUnionControlNetType: what kind of picture the net is shown."""
    kind: str = node["type"]
    net: ControlNet = node["control_net"]
    mode = _MODES.index(kind) if kind in _MODES else None
    return (msgspec.structs.replace(net, mode=mode),)


def apply(node: Node, scope: Scope) -> tuple[Conditioning]:
    """ControlNetApply: it is the negative's as well, as pipelines have it."""
    return (_with(node, "conditioning", _control(node, 0.0, 1.0)),)


def apply_advanced(node: Node, scope: Scope) -> tuple[Conditioning, Conditioning]:
    """ControlNetApplyAdvanced: from one part of the steps to another."""
    control = _control(node, node["start_percent"], node["end_percent"])
    return _with(node, "positive", control), _with(node, "negative", control)


def controls_for(scope: Scope, card: EndpointCard, given: Conditioning) -> tuple[Control, ...]:
    """The nets of a conditioning, by their routes on an endpoint.

    Raises:
        NodeFault: the endpoint has none of such a name.
    """
    found = []
    for control in given.controls:
        named = control_named(scope.catalog, card, control.net.name)
        if named is None:
            options = scope.catalog.controls_of(card.id)
            fault = not_in_list("control_net_name", control.net.name, options)
            raise NodeFault(fault, control.net.node_id)
        net = msgspec.structs.replace(control.net, name=named.route)
        found.append(msgspec.structs.replace(control, net=net))
    return tuple(found)


def _control(node: Node, start: float, end: float) -> Control | None:
    """What is applied; nothing without any strength."""
    if node["strength"] == 0 or end <= start:
        return None
    return Control(node["control_net"], node["image"], node["strength"], start, end)


def _with(node: Node, name: str, control: Control | None) -> Conditioning:
    given: Any = node[name]
    if control is None:
        return given  # type: ignore[no-any-return]
    if control.picture.num_images > 1:
        raise node.refuse("image", "a ControlNet is shown one picture, this is a batch")
    if len(given.controls) == MAX_CONTROLS:
        raise node.refuse("control_net", f"up to {MAX_CONTROLS} are applied at once")
    found: Conditioning = msgspec.structs.replace(given, controls=(*given.controls, control))
    return found


COMPILERS: dict[str, Compile] = {
    "ControlNetLoader": load,
    "DiffControlNetLoader": load,
    "SetUnionControlNetType": told,
    "ControlNetApply": apply,
    "ControlNetApplyAdvanced": apply_advanced,
    "ControlNetApplySD3": apply_advanced,
}
