"""A pipeline of no family whose denoiser repeats one small block: compiling it takes seconds."""

from typing import Any

import torch
from diffusers import ConfigMixin, DDIMScheduler, DiffusionPipeline, ImagePipelineOutput, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

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
    """The pipeline, the same every time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        pipeline = Strokes(Brush(), nn.Linear(WIDTH, WIDTH), DDIMScheduler())
    for module in (pipeline.unet, pipeline.text_encoder):
        module.eval().requires_grad_(False)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
