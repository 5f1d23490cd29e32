"""What AUTOMATIC1111's users call samplers, schedules, checkpoints and adapters."""

import re

from gateway.catalog.catalog import Catalog, Model
from gateway.catalog.samplers import SAMPLERS, SPACINGS
from gateway.errors import ModelNotFound
from gateway.outside.spelling import is_absent
from gateway.runs.graph.names import adapter_named, endpoints_named

SAMPLER_NAMES = {
    "DPM++ 2M": "dpmpp_2m",
    "DPM++ SDE": "dpmpp_sde",
    "DPM++ 2M SDE": "dpmpp_2m_sde",
    "DPM++ 2M SDE Heun": "dpmpp_2m_sde",
    "DPM++ 2S a": "dpmpp_sde",
    "DPM++ 3M SDE": "dpmpp_3m_sde",
    "Euler a": "euler_ancestral",
    "Euler": "euler",
    "LMS": "lms",
    "Heun": "heun",
    "DPM2": "dpm_2",
    "DPM2 a": "dpm_2_ancestral",
    "DPM fast": "dpmpp_2m",
    "DPM adaptive": "dpmpp_2m",
    "Restart": "heun",
    "DDIM": "ddim",
    "DDIM CFG++": "ddim",
    "PLMS": "ipndm",
    "UniPC": "uni_pc",
    "LCM": "lcm",
}
"""Its samplers, and those of the field that they are, or that stand in for them."""

SCHEDULE_NAMES = {
    "Uniform": "normal",
    "Karras": "karras",
    "Exponential": "exponential",
    "Polyexponential": "exponential",
    "SGM Uniform": "sgm_uniform",
    "Simple": "simple",
    "Normal": "normal",
    "DDIM": "ddim_uniform",
    "Beta": "beta",
}
AUTOMATIC = "automatic"
_HASHED = re.compile(r"(.+?)\s*\[[0-9a-fA-F]{6,64}\]")


def scheduler_of(sampler: str | None, schedule: str | None) -> str | None:
    """A request's `scheduler` that a sampler's and a schedule's name mean; None is the model's own.

    Older clients say both in one, `DPM++ 2M Karras`. What is not known is left as it is.
    """
    name = "" if is_absent(sampler) else str(sampler).strip()
    spacing = _folded(SCHEDULE_NAMES, "" if is_absent(schedule) else str(schedule))
    for label, meant in SCHEDULE_NAMES.items():
        if name.lower().endswith(f" {label.lower()}"):
            name, spacing = name[: -len(label)].strip(), meant
    found = _folded(SAMPLER_NAMES, name)
    if found in ("", AUTOMATIC):
        return None
    return f"{found}/{spacing}" if found in SAMPLERS and spacing in SPACINGS else found


def sampler_names(catalog: Catalog, endpoint: str) -> dict[str, str]:
    """The samplers that an endpoint takes, by what they are called here."""
    taken = catalog.schedulers(endpoint)
    return {label: name for label, name in SAMPLER_NAMES.items() if name in taken}


def model_named(catalog: Catalog, name: str) -> Model:
    """The model that a checkpoint's title means: a model id, or a file as graphs name it.

    Raises:
        ModelNotFound: there is none.
    """
    hashed = _HASHED.fullmatch(name.strip())
    title = hashed[1] if hashed else name.strip()
    try:
        return catalog.resolve(title)
    except ModelNotFound:
        cards = endpoints_named(catalog, title)
        if not cards:
            raise
        return Model(cards[0])


def adapter_route(catalog: Catalog, model: Model, name: str) -> str | None:
    """The route of the adapter that a tag in a prompt names, None where there is no such."""
    card = adapter_named(catalog, model.endpoint, name)
    return card.route if card else None


def _folded(names: dict[str, str], name: str) -> str:
    """What a name means in any case, of the field's own names too; itself where nothing."""
    plain = name.strip().lower()
    spelt = {label.lower(): meant for label, meant in names.items()}
    by_underscore = plain.replace(" ", "_")
    return spelt.get(plain) or spelt.get(plain.replace("_", " ")) or (
        by_underscore if by_underscore in (*SAMPLERS, *SPACINGS, AUTOMATIC) else name.strip()
    )
