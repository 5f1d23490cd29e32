"""Friendli's SDK and a model that cannot be used; prints what it raised as one JSON object."""

import json
import sys
from importlib.metadata import version

from friendli import SyncFriendli

LINE = version("friendli")


def fault(prompt: str) -> dict[str, object]:
    """What one call raised, or else what it took for an answer."""
    client = SyncFriendli(token="any", server_url=sys.argv[1])
    try:
        answer = client.dedicated.image.generate(prompt=f"{prompt} by {LINE}", model="tiny")
    except Exception as error:
        status, body = getattr(error, "status_code", None), getattr(error, "body", str(error))
        return {"kind": type(error).__name__, "status": status, "body": body}
    return {"kind": "", "status": 200, "body": repr(answer)}


print(json.dumps({"refused": fault("unusable"), "late": fault("slow unusable")}))
