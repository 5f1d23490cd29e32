"""A way past one number in diffusers' inpainting for denoisers of more latent channels."""

from typing import Any

from diffusers.configuration_utils import FrozenDict

PLAIN, WITH_MASK = 4, 9
"""Input channels that diffusers tells its two kinds of inpainting denoiser apart by."""


class PlainDenoiser:
    """A denoiser that says it takes four channels, which is read as: latents and no mask.

    Only the decision reads it; latents are shaped by the autoencoder's channels.
    """

    def __init__(self, module: Any) -> None:
        self._module = module
        self.config = FrozenDict({**module.config, "in_channels": PLAIN})

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._module(*arguments, **named)


def admit_latent_channels(pipeline: Any) -> None:
    """Let an inpainting pipeline take a denoiser of any number of latent channels."""
    denoiser = getattr(pipeline, "unet", None)
    if denoiser is None or denoiser.config.in_channels in (PLAIN, WITH_MASK):
        return
    if denoiser.config.in_channels == denoiser.config.out_channels:
        # Past the pipeline's own setter, which writes a module's class into the config.
        object.__setattr__(pipeline, "unet", PlainDenoiser(denoiser))
