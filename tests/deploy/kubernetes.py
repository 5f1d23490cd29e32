"""Whether Kubernetes would take an object: by its own schema, or by the one of its kind here."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml

CUSTOMS = yaml.safe_load(Path(__file__).with_name("customs.yaml").read_text())
VERSIONS = ("1.29.0", "1.37.0")
"""The first that the chart is for, and the latest whose schemas there are."""

POD_GROUPS = ("headGroupSpec", "workerGroupSpecs")


def faults(written: dict[str, Any]) -> Iterator[str]:
    """What is wrong with an object, one by one."""
    kind = f"{written['apiVersion']} {written['kind']}"
    where = f"{kind} {written['metadata']['name']}"
    if kind not in CUSTOMS:
        for version in VERSIONS:
            try:
                kubernetes_validate.validate(written, version, strict=True)
            except kubernetes_validate.ValidationError as fault:
                yield f"{where} ({version}): {fault.message}"
        return
    for error in checker(kind).iter_errors(written["spec"]):
        yield f"{where}: {error.json_path}: {error.message}"
    for pods in _pods_of(written["spec"]):
        metadata = {"name": written["metadata"]["name"]}
        template = {"kind": "PodTemplate", "metadata": metadata, "template": pods}
        yield from faults({"apiVersion": "v1", **template})


def _pods_of(spec: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name in POD_GROUPS:
        found = spec.get(name, [])
        for group in found if isinstance(found, list) else [found]:
            yield group["template"]


@cache
def checker(kind: str) -> jsonschema.Draft202012Validator:
    """What checks the `spec` of a kind."""
    schema = closed(CUSTOMS[kind]) | {"definitions": closed(CUSTOMS["definitions"])}
    return jsonschema.Draft202012Validator(schema)


def closed(schema: Any) -> Any:
    """A schema that allows no other properties than those it names."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    shut = {name: closed(value) for name, value in schema.items()}
    if isinstance(shut.get("properties"), dict) and "type" in shut:
        return {"additionalProperties": False} | shut
    return shut
