"""The hunt: mutated requests, put to a gateway until they are used up, and what it finds."""

import asyncio
import random
from collections import Counter
from collections.abc import Iterable

import msgspec

from tests.fuzz.hostile import fitting, mutated
from tests.fuzz.wire import Answered, Ask, Sent

AT_ONCE = 8
BARE = ("HEAD", "OPTIONS")
BY_DESIGN = (501, 503)
"""A route that has no meaning here, and a gateway that has no place: answers, not faults."""


class Finding(msgspec.Struct, frozen=True):
    """A request whose answer is the gateway's fault."""

    number: int
    sent: Sent
    why: str


class Hunt(msgspec.Struct):
    """What became of the requests: how many were answered how, and what is wrong."""

    statuses: Counter[int] = msgspec.field(default_factory=Counter)
    findings: list[Finding] = msgspec.field(default_factory=list)


async def hunt(ask: Ask, valid: list[Sent], *, requests: int, seed: int) -> Hunt:
    """Put mutations of valid requests to a gateway, several at a time.

    Request number `n` of a seed is the same whatever the others are.
    """
    found = Hunt()
    numbers = iter(range(requests))

    async def work(numbers: Iterable[int]) -> None:
        for number in numbers:
            sent = nth(valid, number, seed)
            answer = await ask(sent)
            found.statuses[answer.status] += 1
            if why := wrong(sent, answer):
                found.findings.append(Finding(number, sent, why))

    await asyncio.gather(*(work(numbers) for _ in range(AT_ONCE)))
    return found


def nth(valid: list[Sent], number: int, seed: int) -> Sent:
    """Mutated request number `number` of a seed."""
    rng = random.Random(f"{seed}/{number}")
    with_body = [sent for sent in valid if sent.body]
    sent = rng.choice(valid if number % 4 == 0 else with_body)
    return mutated(rng, sent, fitting(sent))


def wrong(sent: Sent, answer: Answered) -> str:
    """Why an answer is the gateway's fault; empty where it is none."""
    if answer.fault:
        return answer.fault
    if answer.status >= 500 and answer.status not in BY_DESIGN:
        return f"{answer.status}: {answer.body[:300]!r}"
    if answer.status >= 400 and sent.method not in BARE and not _says_why(answer):
        return f"{answer.status} without a reason: {answer.body[:300]!r}"
    return ""


def _says_why(answer: Answered) -> bool:
    """Whether a refusal is JSON of some dialect's form, or a page."""
    if answer.header(b"content-type").startswith(b"text/html"):
        return True
    try:
        body = msgspec.json.decode(answer.body)
    except msgspec.DecodeError:
        return False
    return isinstance(body, dict) and bool(body.get("error") or body.get("detail"))
