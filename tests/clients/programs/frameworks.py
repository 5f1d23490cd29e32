"""Frameworks for agents, each asking for a picture by its tool; prints what they got as JSON."""

import asyncio
import base64
import json
import os
import sys

url, key = sys.argv[1:]
os.environ |= {
    "OPENAI_BASE_URL": f"{url}/v1",
    "OPENAI_API_KEY": key,
    "OPENAI_AGENTS_DISABLE_TRACING": "1",
}

from agents import Agent as OpenAIAgent  # noqa: E402
from agents import ImageGenerationTool, Runner  # noqa: E402
from langchain_openai import ChatOpenAI  # noqa: E402
from pydantic_ai import Agent, BinaryImage  # noqa: E402
from pydantic_ai.capabilities import ImageGeneration  # noqa: E402
from pydantic_ai.models.openai import OpenAIResponsesModel  # noqa: E402

TOOL = {"type": "image_generation", "size": "64x64", "model": "tiny"}


async def openai_agents() -> list[str]:
    """Pictures by the tool that the framework hosts with OpenAI, whole and streamed."""
    agent = OpenAIAgent(name="painter", model="gpt-5", tools=[ImageGenerationTool(TOOL)])
    whole = await Runner.run(agent, "a red apple")
    streamed = Runner.run_streamed(agent, "a red apple")
    async for _event in streamed.stream_events():
        pass
    return [
        item.raw_item.result
        for run in (whole, streamed)
        for item in run.new_items
        if getattr(item.raw_item, "type", "") == "image_generation_call"
    ]


async def pydantic_ai() -> list[str]:
    """A picture as the output of an agent."""
    model = OpenAIResponsesModel("gpt-5")
    agent = Agent(model, output_type=BinaryImage, capabilities=[ImageGeneration(size="auto")])
    result = await agent.run("a red apple")
    return [base64.b64encode(result.output.data).decode()]


def langchain() -> list[str]:
    """Pictures in the message of a chat model with the tool bound to it, and of its successor."""
    model = ChatOpenAI(model="gpt-5", use_responses_api=True).bind_tools([TOOL])
    first = model.invoke("a red apple")
    second = model.invoke([("user", "a red apple"), first, ("user", "now green")])
    return [
        block.get("base64") or block["result"]
        for message in (first, second)
        for block in message.content_blocks
        if block["type"] in ("image", "image_generation_call")
    ]


print(
    json.dumps(
        {
            "openai_agents": asyncio.run(openai_agents()),
            "pydantic_ai": asyncio.run(pydantic_ai()),
            "langchain": langchain(),
        }
    )
)
