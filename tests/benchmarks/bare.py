"""The stock pipeline by itself, in this process: what no server can beat."""

import time
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline

from gateway.images.encode import encode
from gateway.job import Pixels
from tests.benchmarks.workload import EDGE, PROMPT

BATCHES = (1, 4, 8, 16)


class BarePipeline:
    """A saved pipeline on a device."""

    def __init__(self, folder: Path, device: str) -> None:
        self.device = device
        loaded: Any = DiffusionPipeline.from_pretrained(folder)
        self.pipe = loaded.to(device)
        self.pipe.set_progress_bar_config(disable=True)

    @torch.inference_mode()
    def draw(self, steps: int = 1, batch: int = 1, seed: int = 0) -> Any:
        """A batch of pictures, `[batch, height, width, 3]` in [0, 1], on the host."""
        generators = [torch.Generator("cpu").manual_seed(seed + n) for n in range(batch)]
        return self.pipe(
            prompt=[f"{PROMPT} {n}" for n in range(batch)], num_inference_steps=steps,
            guidance_scale=1.0, width=EDGE, height=EDGE, generator=generators, output_type="np",
        ).images

    def png(self, seed: int = 0) -> bytes:
        """One picture, encoded as the gateway encodes."""
        image = (self.draw(seed=seed)[0] * 255).round().astype("uint8")
        return encode(Pixels(EDGE, EDGE, 3, image.tobytes()), "png")

    def lone_seconds(self, repeats: int) -> list[float]:
        """The seconds of each of some lone pictures with their encoding."""
        taken = []
        for n in range(repeats):
            started = time.perf_counter()
            self.png(n)
            taken.append(time.perf_counter() - started)
        return taken

    def best_batch(self, most: int, steps: int, seconds: float) -> int:
        """The batch size, of those up to the most, that gives most images per second."""
        sizes = [size for size in BATCHES if size <= most]
        return max(sizes, key=lambda size: self.per_second(size, steps, seconds))

    def per_second(self, size: int, steps: int, seconds: float) -> float:
        """Images per second in batches of a size."""
        self.draw(steps, size)
        drawn, started = 0, time.perf_counter()
        while time.perf_counter() - started < seconds:
            self.draw(steps, size, seed=drawn)
            drawn += size
        return drawn / (time.perf_counter() - started)
