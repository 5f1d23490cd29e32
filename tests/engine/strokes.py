"""A pipeline of no family whose denoiser repeats one small block: compiling it takes seconds."""

from typing import Any

import torch
from diffusers import ConfigMixin, DDIMScheduler, DiffusionPipeline, ImagePipelineOutput, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from gateway.catalog.cards import AdapterCard, EndpointCard
from gateway.catalog.catalog import Catalog
from gateway.engine.adapters.adapters import AdapterWeights, LayerWeights
from gateway.engine.weights.files import Origin
from gateway.job import AdapterUse
from tests.engine.workbench import Workbench, job, picture

ROUTES = ("first", "second", "third", "fourth", "fifth", "sixth",
          "wide0", "wide1", "wide2", "wide3", "wide4")
EDGE = 8
WIDTH = 3 * EDGE


class Stroke(nn.Module):
    """What is repeated."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(WIDTH, 2 * WIDTH)
        self.outer = nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, rows: Tensor, hint: Tensor) -> Any:
        return rows + self.outer(torch.tanh(self.inner(rows + hint[:, None])))


class Brush(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Three of them, over the lines of a picture."""

    config_name = "config.json"

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self) -> None:
        super().__init__()
        self.strokes = nn.ModuleList(Stroke() for _ in range(3))

    def forward(self, moment: Any, picture: Tensor, hint: Tensor) -> Any:
        rows: Any = picture.permute(0, 2, 1, 3).flatten(2)
        for stroke in self.strokes:
            rows = stroke(rows, hint + moment.reshape(-1, 1) / 1000)
        return rows.unflatten(2, (3, -1)).permute(0, 2, 1, 3)


class Strokes(DiffusionPipeline):  # type: ignore[misc]
    """Paints noise."""

    def __init__(self, unet: Any, text_encoder: Any, scheduler: Any) -> None:
        super().__init__()
        self.register_modules(unet=unet, text_encoder=text_encoder, scheduler=scheduler)

    @torch.no_grad()
    def __call__(
        self, prompt: str, num_inference_steps: int = 2, generator: Any = None,
        height: int = EDGE, output_type: str = "pt",
    ) -> Any:
        letters = prompt[:WIDTH].ljust(WIDTH)
        hint = self.text_encoder(torch.tensor([[ord(one) / 128 for one in letters]]))
        latents = torch.randn(1, 3, height, EDGE, generator=generator)
        self.scheduler.set_timesteps(num_inference_steps)
        for moment in self.scheduler.timesteps:
            drawn = self.unet(moment, picture=latents, hint=hint)
            latents = self.scheduler.step(drawn, moment, latents).prev_sample
        return ImagePipelineOutput(images=(latents / 4 + 0.5).clamp(0, 1))


def strokes() -> Strokes:
    """The pipeline, the same every time: a thread that compiles sets torch's own random state."""
    pipeline = Strokes(Brush(), nn.Linear(WIDTH, WIDTH), DDIMScheduler())
    draw = torch.Generator().manual_seed(0)
    for module in (pipeline.unet, pipeline.text_encoder):
        module.eval().requires_grad_(False)
        for weights in module.parameters():
            weights.uniform_(-0.2, 0.2, generator=draw)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def with_adapters(compiled: Any) -> Workbench:
    """A bench of the pipeline whose catalogue knows its adapters."""
    cards = {("strokes", route): _card(route) for route in ROUTES}
    endpoint = EndpointCard(id="strokes", compile=compiled)
    return Workbench({"strokes": strokes()}, catalog=Catalog({"strokes": endpoint}, cards))


def add_adapter(bench: Workbench, route: str, rank: int = 3) -> None:
    """Have an adapter of the denoiser and the text encoder in memory, unless it is there."""
    if any(key == ("strokes", route) for key, _ in bench.shelf.held):
        return
    draw = torch.Generator().manual_seed(sum(map(ord, route)))

    def layer(inside: int, outside: int) -> LayerWeights:
        down, up = (torch.randn(shape, generator=draw) / 8
                    for shape in ((rank, inside), (outside, rank)))
        return LayerWeights(down, up)

    weights = {
        **{("unet", f"strokes.{n}.inner"): layer(WIDTH, 2 * WIDTH) for n in range(3)},
        ("unet", "strokes.1.outer"): layer(2 * WIDTH, WIDTH),
        ("text_encoder", ""): layer(WIDTH, WIDTH),
    }
    bench.shelf.put_adapter(_card(route), AdapterWeights(weights), Origin())


def adapted(bench: Workbench, *stacks: tuple[str, ...]) -> list[Tensor]:
    """Pictures drawn together, each with its own adapters at scales of its own."""
    samples = [
        bench.add(
            job("strokes", "p", seed, 2, adapters=tuple(
                AdapterUse(route, 0.5 + seed + number) for number, route in enumerate(stack)
            ))
        )[0]
        for seed, stack in enumerate(stacks)
    ]
    bench.run()
    return [picture(sample) for sample in samples]


def _card(route: str) -> AdapterCard:
    return AdapterCard(endpoint="strokes", route=route, source=f"{route}.safetensors")
