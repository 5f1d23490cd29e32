"""A request with its dialect forgotten, and what the engine says about it.

`Job` and the events are immutable and serialisable (msgspec), so that the same protocol
runs inside the process or across a network.
"""

from typing import Any, Literal

import msgspec

from gateway.errors import FAILURES, GatewayError, GenerationFailed
from gateway.remarks import Remark

Matting = Literal["border"]
"""`border`: what joins a picture's edge in the edge's own colour is background."""
Reading = Literal["plain", "weighted"]
"""`weighted`: prompts of any length, in which `(word:1.3)` weighs more than its words and `BREAK`
begins a part that is read by itself."""

Priority = Literal["interactive", "batch"]
Promise = Literal["near", "bitwise"]
"""How like a picture is to itself, alone and beside others: to a few roundings, or to the bit."""


class AdapterUse(msgspec.Struct, frozen=True):
    """A LoRA applied to a job: its route on the endpoint, and the scale that multiplies it."""

    route: str
    scale: float = 1.0


class ControlUse(msgspec.Struct, frozen=True, kw_only=True):
    """A ControlNet applied to a job: its route on the endpoint, what it is shown, how strongly.

    It acts from `start` to `end` of the steps, as parts of all. `mode` says of what kind its
    picture is, to a net that reads several.
    """

    route: str
    image: "Pixels"
    scale: float = 1.0
    start: float = 0.0
    end: float = 1.0
    mode: int | None = None


class Pixels(msgspec.Struct, frozen=True):
    """Raw pixels: `data` is `[height, width, channels]` uint8, rows from the top, sRGB.

    `channels` is 3 (RGB), 4 (RGBA, straight alpha) or 1 (a mask: 255 = edit here).
    """

    width: int
    height: int
    channels: int
    data: bytes


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One client request; its samples are its seeds.

    `width` and `height` are what the pipeline is run at; `output_size`, where set, is
    what the picture is resampled to afterwards, as `(width, height)` in pixels.
    `guidance_scale` None leaves the pipeline's own default.
    `images` and `mask` are inputs of an edit; `strength` in (0, 1] is how much of the
    first image is redrawn.
    `num_previews` intermediate pictures per sample are reported, spread over the steps.
    `scheduler` is a diffusers class that replaces the endpoint's own, `scheduler_config` what
    it (or the endpoint's own, without one) is given over the pipeline's scheduler config.
    `matting` is the rule by which the background is made transparent, None for opaque.
    `prompts` is how they are read.
    `pins` are digests by model id: with other weights nothing is drawn.
    `deadline` is by the machine's own clock, `time.monotonic()`, which nobody can set.
    `owner` is the key the job is accounted to; `claim` is the same when a refused client asks
    again, where its jobs' ids are not.
    `arguments` are extra keyword arguments of the pipeline's call.
    `remarks` say what is not done as it was asked, as far as that is known before it is drawn.
    """

    id: str
    endpoint: str
    prompt: str
    num_inference_steps: int
    width: int
    height: int
    seeds: tuple[int, ...]
    adapters: tuple[AdapterUse, ...] = ()
    pins: dict[str, str] = msgspec.field(default_factory=dict)
    negative_prompt: str | None = None
    guidance_scale: float | None = None
    output_size: tuple[int, int] | None = None
    images: tuple[Pixels, ...] = ()
    mask: Pixels | None = None
    controls: tuple[ControlUse, ...] = ()
    strength: float | None = None
    scheduler: str | None = None
    scheduler_config: dict[str, Any] = msgspec.field(default_factory=dict)
    num_previews: int = 0
    matting: Matting | None = None
    prompts: Reading = "plain"
    priority: Priority = "interactive"
    deadline: float | None = None
    owner: str = ""
    claim: str = ""
    arguments: dict[str, Any] = msgspec.field(default_factory=dict)
    remarks: tuple[Remark, ...] = ()

    @property
    def model_id(self) -> str:
        """The id by which its pictures can be asked for."""
        return ":".join([self.endpoint, *(use.route for use in self.adapters[:1])])


class StepDone(msgspec.Struct, frozen=True, tag="step_done"):
    """`step` of `num_steps` denoising steps is done for sample number `sample` (from 0).

    `seconds` have passed since the sample was begun.
    """

    sample: int
    step: int
    num_steps: int
    seconds: float = 0.0


class Preview(msgspec.Struct, frozen=True, tag="preview"):
    """Intermediate picture number `index` (from 0) of a sample."""

    sample: int
    index: int
    pixels: Pixels


class Finished(msgspec.Struct, frozen=True, tag="finished"):
    """A sample's picture, with the scheduler class that made it.

    `remarks` are what only the pipeline could tell of what was not done as asked.
    `digests` are of the weights that drew it, by model id; None where they are no files.
    `num_tokens` of its texts were read by the pipeline's tokenizers, None where it has none.
    `seconds` have passed since it was begun.
    """

    sample: int
    pixels: Pixels
    scheduler: str
    remarks: tuple[Remark, ...] = ()
    digests: dict[str, str | None] = msgspec.field(default_factory=dict)
    promise: Promise = "near"
    num_tokens: int | None = None
    seconds: float = 0.0


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """A sample that will have no picture; `code` is a key of `errors.FAILURES`.

    `param` is the request field at fault, where the pipeline cannot do what it asks for.
    `seconds` have passed since it was begun, 0 where it was not.
    """

    sample: int
    code: str
    message: str
    param: str | None = None
    seconds: float = 0.0

    def error(self) -> GatewayError:
        """The same fault as an exception of the family."""
        return FAILURES.get(self.code, GenerationFailed)(
            self.message, code=self.code, param=self.param
        )


Event = StepDone | Preview | Finished | Failed
