"""Friendli's SDK against a gateway; prints what each case got as a JSON object."""

import json
import sys
import time

from friendli import SyncFriendli, models

URL, KEY, STEPS, *ASKED = sys.argv[1:]
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


SEEDED = {"seed": 7, "num_inference_steps": 3}
CASES = {
    "default": generated,
    "seeded": lambda: generated(response_format="png", **SEEDED),
    "again": lambda: generated(response_format="png", **SEEDED),
    "adapter": lambda: generated(model="tiny:ink", response_format="png", **SEEDED),
    "raw": lambda: generated(response_format="raw", **SEEDED),
    "slow": lambda: generated(model="slow", num_inference_steps=int(STEPS), seed=7,
                              response_format="png"),
    "unknown": lambda: refused(model="tiny:none"),
    "container": lambda: container(num_inference_steps=3),
    "container-prefix": lambda: container(num_inference_steps=3, prefix="/container", model="ink"),
}
print(json.dumps({case: CASES[case]() for case in ASKED}))
