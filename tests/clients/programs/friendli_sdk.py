"""Friendli's SDK against a gateway; prints what one case got as a JSON object."""

import json
import sys
import time

from friendli import SyncFriendli, models

URL, KEY, CASE = sys.argv[1:4]
ITEM = ("seed", "response_format", "url", "b64_json")


def generated(**more: object) -> dict[str, object]:
    """One dedicated call, and the seconds it took."""
    client = SyncFriendli(token=KEY, server_url=URL)
    started = time.monotonic()
    answer = client.dedicated.image.generate(**{"prompt": "a red apple", "model": "tiny"} | more)
    items = [{name: text(getattr(item, name, None)) for name in ITEM} for item in answer.data]
    return {"items": items, "seconds": time.monotonic() - started}


def container(**more: object) -> dict[str, object]:
    """One container call; it takes the server's address for itself."""
    client = SyncFriendli(token=KEY)
    answer = client.container.image.generate(
        prompt="a red apple", response_format="jpeg", server_url=URL + more.pop("prefix", ""),
        **more,
    )
    return {"image": text(answer.image)}


def refused(**more: object) -> dict[str, object]:
    """One dedicated call that must fail, and how."""
    try:
        generated(**more)
    except models.SDKError as error:
        body = json.loads(error.body)
        return {"status": error.status_code, "code": body["error"]["code"]}
    return {}


def text(value: object) -> object:
    """The SDK hands base64 out as bytes, and enumerations as objects."""
    if isinstance(value, bytes):
        return value.decode()
    return getattr(value, "value", value) if value is not None else None


CASES = {
    "default": generated,
    "seeded": lambda: generated(seed=7, response_format="png", num_inference_steps=3),
    "adapter": lambda: generated(model="tiny:ink", seed=7, response_format="png",
                                 num_inference_steps=3),
    "raw": lambda: generated(seed=7, response_format="raw", num_inference_steps=3),
    "slow": lambda: generated(model="slow", num_inference_steps=int(sys.argv[4]), seed=7,
                              response_format="png"),
    "container": lambda: container(num_inference_steps=3),
    "container-prefix": lambda: container(num_inference_steps=3, prefix="/container", model="ink"),
    "unknown": lambda: refused(model="tiny:none"),
}
print(json.dumps(CASES[CASE]()))
