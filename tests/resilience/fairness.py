"""Keys of unequal numbers of clients at one door: who is answered, who is refused, how often.

    python -m tests.resilience.fairness [--seconds 60] [--sizes 180,20] [-- SERVE OPTIONS]
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import httpx

from gateway.accounts.keys import KeyStore
from tests.serving import serving

ROUTE = "/v1/images/generations"
SERVED = ("emoji", "--max-batch", "8", "--max-waiting", "56")
SECONDS = 60.0
SIZES = (180, 20)
STEPS = 1
WARM_SECONDS = 10.0
"""At first, which are not counted: everyone comes in the same instant, and nothing is measured."""


@dataclass
class Asked:
    """One picture wanted: when it was asked for each time, and what was told each refusal."""

    tries: list[float] = field(default_factory=list)
    told_seconds: list[float] = field(default_factory=list)
    answered: float | None = None

    @property
    def waited_seconds(self) -> float:
        """From the first refusal to the try that was let in."""
        return self.tries[-1] - self.tries[0]


@dataclass
class Tally:
    """What one key's clients met with."""

    num_clients: int
    asked: list[Asked] = field(default_factory=list)

    def answered(self, since: float) -> list[Asked]:
        """The pictures that came after a moment."""
        return [one for one in self.asked if one.answered is not None and one.answered > since]

    def refused(self, since: float) -> list[Asked]:
        """Of those answered the ones that were refused at first."""
        return [one for one in self.answered(since) if one.told_seconds]


@dataclass
class Report:
    """What every key met with, counted from `since`."""

    tallies: list[Tally]
    since: float

    @property
    def shares(self) -> list[float]:
        """Each key's part of all answers; the parts sum to 1."""
        counts = [len(tally.answered(self.since)) for tally in self.tallies]
        return [count / max(1, sum(counts)) for count in counts]

    @property
    def median_tries(self) -> float:
        """Tries until in, the refused ones among them, of those that were refused at first.

        Who still waits outside counts with the next try, were it the last.
        """
        asked = [one for tally in self.tallies for one in tally.asked if one.told_seconds]
        tries = [
            len(one.told_seconds) + 1
            for one in asked
            if one.answered is None or one.answered > self.since
        ]
        return median(tries) if tries else 1.0

    def faults(self, within: float = 0.1) -> list[str]:
        """Each way in which it was not fair."""
        equal = 1 / len(self.tallies)
        found = [
            f"{tally.num_clients} clients had {share:.0%} of the answers"
            for tally, share in zip(self.tallies, self.shares, strict=True)
            if abs(share - equal) > within * equal
        ]
        if self.median_tries > 2:
            found.append(f"the refused needed {self.median_tries:g} tries")
        return found

    def lines(self) -> list[str]:
        """A line for each key."""
        return [
            self._line(tally, share)
            for tally, share in zip(self.tallies, self.shares, strict=True)
        ]

    def _line(self, tally: Tally, share: float) -> str:
        refused = tally.refused(self.since)
        line = (
            f"{tally.num_clients} clients: {len(tally.answered(self.since))} answers "
            f"({share:.0%}), {sum(len(one.told_seconds) for one in tally.asked)} refusals"
        )
        if not refused:
            return line
        tries = sorted(len(one.tries) for one in refused)
        told = median(one.told_seconds[0] for one in refused)
        waited = median(one.waited_seconds for one in refused)
        return (
            f"{line}; of {len(refused)} refused at first half were in by try {median(tries):g}, "
            f"nine in ten by try {tries[len(tries) * 9 // 10]}; "
            f"told to wait {told:.1f} s, waited {waited:.1f} s (medians)"
        )


def fairness(
    folder: Path,
    sizes: Sequence[int] = SIZES,
    seconds: float = SECONDS,
    served: Sequence[str] = SERVED,
) -> Report:
    """So many clients of as many keys for so long, each asking anew when it is answered."""
    keys = KeyStore(folder)
    secrets = [keys.create(f"{size} clients")[1] for size in sizes]
    with serving(folder, *served) as server:
        return asyncio.run(_drive(server.url, dict(zip(secrets, sizes, strict=True)), seconds))


async def _drive(url: str, keys: dict[str, int], seconds: float) -> Report:
    tallies = [Tally(size) for size in keys.values()]
    began = time.monotonic()
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=url, timeout=600, limits=limits) as client:
        clients = [
            asyncio.create_task(_client(client, secret, number, tally))
            for (secret, size), tally in zip(keys.items(), tallies, strict=True)
            for number in range(size)
        ]
        await asyncio.sleep(seconds)
        for task in clients:
            task.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
    return Report(tallies, began + min(WARM_SECONDS, seconds / 4))


async def _client(client: httpx.AsyncClient, secret: str, number: int, tally: Tally) -> None:
    """Asks for a picture, comes back when told, and asks for the next when it has it."""
    headers = {"Authorization": f"Bearer {secret}", "Accept": "image/png"}
    while True:
        body = {
            "model": "emoji", "prompt": f"{number} apples",
            "num_inference_steps": STEPS, "seed": len(tally.asked),
        }
        asked = Asked()
        tally.asked.append(asked)
        while asked.answered is None:
            asked.tries.append(time.monotonic())
            answer = await client.post(ROUTE, json=body, headers=headers)
            if answer.status_code == 429:
                asked.told_seconds.append(_told(answer))
                await asyncio.sleep(asked.told_seconds[-1])
            else:
                answer.raise_for_status()
                asked.answered = time.monotonic()


def _told(answer: httpx.Response) -> float:
    """Seconds to wait: of the two headers the finer, where it is sent."""
    if (milliseconds := answer.headers.get("retry-after-ms")) is not None:
        return float(milliseconds) / 1000
    return float(answer.headers["retry-after"])


def main() -> None:
    """Print what each key met with."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)))
    parser.add_argument("served", nargs="*", default=SERVED)
    options = parser.parse_args()
    sizes = [int(size) for size in options.sizes.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        report = fairness(Path(folder), sizes, options.seconds, options.served)
    print(*report.lines(), *report.faults(), sep="\n")


if __name__ == "__main__":
    main()
