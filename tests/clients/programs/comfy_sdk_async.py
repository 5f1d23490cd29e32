"""Comfy's Python SDK, asynchronous: `URL KEY GRAPH`, prints what it saw."""

import asyncio
import json
import os
import sys
from typing import Any

url, key, text = sys.argv[1:]
os.environ |= {"COMFY_BASE_URL": url, "COMFY_ROUTER_BASE_URL": url, "COMFY_API_KEY": key}

from comfy_sdk import AsyncComfy  # noqa: E402


async def main() -> dict[str, Any]:
    """What the client saw."""
    seen: dict[str, Any] = {}
    async with AsyncComfy() as client:
        job = await client.submit(client.workflows.from_str(text), metadata={"a": "async"})
        seen["events"] = [type(event).__name__ async for event in job.events()]
        job = await job.result()
        data = await job.outputs[0].to_bytes()
        seen["job"] = [job.status, data[:4].hex()]
        listed = client.list_jobs(metadata={"a": "async"})
        seen["listed"] = [found.id == job.id async for found in listed]
        asset = client.assets.from_bytes(data, filename="async.png")
        await asset.commit()
        seen["asset"] = (await client.assets.get(asset.id)).hash == asset.hash
        arguments = {"prompt": "a cat", "seed": 4, "size": "64x64"}
        drawn = await client.models.run("local/tiny", arguments)
        seen["model"] = drawn["data"][0]["seed"]
        both = [client.submit(client.workflows.from_str(text)) for _ in range(2)]
        first, second = await asyncio.gather(*both)
        await first.cancel()
        seen["second"] = (await second.result()).status
    return seen


print(json.dumps(asyncio.run(main())))
