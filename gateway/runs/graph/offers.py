"""The nodes by which a graph offers inputs to requests."""

from gateway.runs.graph.definition import (
    ANY,
    Definition,
    Input,
    label,
    left_out,
    real,
    text,
    whole,
)


def _external(output: str, **inputs: Input) -> Definition:
    labels = {
        "input_id": left_out(label()),
        "display_name": left_out(label()),
        "description": left_out(text("")),
    }
    own = {name: left_out(given) for name, given in inputs.items()}
    return Definition(labels | own, (output,))


EXTERNALS: dict[str, Definition] = {
    "ComfyUIDeployExternalText": _external("STRING", default_value=text("")),
    "ComfyUIDeployExternalTextAny": _external(ANY, default_value=text("")),
    "ComfyUIDeployExternalTextSingleLine": _external("STRING", default_value=text("")),
    "ComfyUIDeployExternalNumber": _external("FLOAT", default_value=real(0)),
    "ComfyUIDeployExternalNumberInt": _external("INT", default_value=whole(0)),
    "ComfyUIDeployExternalNumberSlider": _external(
        "FLOAT", default_value=real(0.5), min_value=real(0), max_value=real(1)
    ),
    "ComfyUIDeployExternalNumberSliderInt": _external(
        "INT", default_value=whole(1), min_value=whole(0), max_value=whole(10)
    ),
    "ComfyUIDeployExternalBoolean": _external("BOOLEAN", default_value=Input("BOOLEAN", False)),
    "ComfyUIDeployExternalEnum": _external(ANY, default_value=text(""), options=text("[]")),
    "ComfyUIDeployExternalSeed": _external(
        "INT", default_value=whole(-1), min_value=whole(1), max_value=whole(2**32 - 1)
    ),
    "ComfyUIDeployExternalCheckpoint": _external(ANY, default_value=text("")),
    "ComfyUIDeployExternalLora": _external(
        ANY,
        default_lora_name=text(""),
        lora_save_name=text(""),
        lora_url=text(""),
        bearer_token=text(""),
    ),
    "ComfyUIDeployExternalImage": _external(
        "IMAGE", default_value=Input("IMAGE"), default_value_url=text("")
    ),
    "ComfyUIDeployExternalImageAlpha": _external(
        "IMAGE", default_value=Input("IMAGE"), default_value_url=text("")
    ),
    "ComfyUIDeployExternalColor": _external("STRING", default_value=text("")),
    "ComfyUIDeployExternalFile": _external(ANY, default_value=text(""), file_url=text("")),
    "ComfyUIDeployExternalImageBatch": _external(
        "IMAGE", default_value=Input("IMAGE"), images=Input(ANY, "[]")
    ),
    "ComfyDeployWebscoketImageInput": _external(
        "IMAGE", default_value=Input("IMAGE"), default_value_url=text(""), seed=whole(0)
    ),
}

UNUSED = {
    "ComfyUIDeployExternalAudio": "a picture is not made from sound",
    "ComfyUIDeployExternalVideo": "a picture is not made from a film; send its frames as pictures",
    "ComfyUIDeployExternalVid": "a picture is not made from a film; send its frames as pictures",
    "ComfyUIDeployExternalEXR": "OpenEXR files are not read here; send a PNG, JPEG or WebP",
    "ComfyUIDeployExternalFaceModel": "no face swapper runs here",
}
"""Inputs that requests may fill elsewhere, and why they cannot here."""

EXTERNALS |= {name: _external(ANY) for name in UNUSED}
