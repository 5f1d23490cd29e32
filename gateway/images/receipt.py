"""The receipt of a picture: everything that made it, enough to make it again."""

from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import msgspec

from gateway.job import AdapterUse, Finished, Job, Matting, Promise
from gateway.remarks import Remark, of_picture, once

KEY = "gateway"
"""The PNG text chunk that holds the receipt as JSON."""
LIBRARIES = ("image-gateway", "diffusers", "peft", "torch", "transformers")


class Receipt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What made a picture. `width` and `height` are those it was rendered at.

    `digests` names the weights of the endpoint and each adapter that drew it, None where they
    are not plain files; `output_size` is set where the picture was resampled; `warnings` are
    the remarks that the picture would look different without; `promise` is how like this one
    another drawn by it will be, whoever shares its forwards.
    """

    model: str
    prompt: str
    seed: int
    num_inference_steps: int
    width: int
    height: int
    scheduler: str
    digests: dict[str, str | None]
    versions: dict[str, str]
    negative_prompt: str | None = None
    guidance_scale: float | None = None
    adapters: tuple[AdapterUse, ...] = ()
    output_size: tuple[int, int] | None = None
    strength: float | None = None
    num_images: int = 0
    matting: Matting | None = None
    scheduler_asked: str | None = None
    scheduler_config: dict[str, Any] = msgspec.field(default_factory=dict)
    arguments: dict[str, Any] = msgspec.field(default_factory=dict)
    warnings: tuple[Remark, ...] = ()
    promise: Promise | None = None


def receipt_of(job: Job, finished: Finished) -> Receipt:
    """The receipt of one finished sample."""
    return Receipt(
        model=job.endpoint,
        prompt=job.prompt,
        negative_prompt=job.negative_prompt,
        seed=job.seeds[finished.sample],
        num_inference_steps=job.num_inference_steps,
        guidance_scale=job.guidance_scale,
        width=job.width,
        height=job.height,
        output_size=job.output_size,
        scheduler=finished.scheduler,
        scheduler_asked=job.scheduler,
        scheduler_config=job.scheduler_config,
        adapters=job.adapters,
        strength=job.strength,
        num_images=len(job.images) + len(job.controls),
        matting=job.matting,
        arguments=job.arguments,
        warnings=of_picture(once((*job.remarks, *finished.remarks))),
        digests=finished.digests,
        versions=library_versions(),
        promise=finished.promise,
    )


@cache
def library_versions() -> dict[str, str]:
    """The versions that a picture may depend on; read from files, once."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def receipt_text(receipt: Receipt) -> dict[str, str]:
    """The text chunks that carry a receipt, and its prompt for other readers."""
    return {KEY: msgspec.json.encode(receipt).decode(), "Description": receipt.prompt}


def read_receipt(text: Mapping[str, str]) -> Receipt:
    """The receipt in a picture's text chunks.

    Raises:
        ValueError: there is none, or it cannot be read.
    """
    if KEY not in text:
        raise ValueError("the picture carries no receipt")
    try:
        return msgspec.json.decode(text[KEY], type=Receipt)
    except msgspec.MsgspecError as error:
        raise ValueError(f"the picture's receipt cannot be read: {error}") from None


def job_of(receipt: Receipt, job_id: str) -> Job:
    """The job that makes a receipt's picture again."""
    return Job(
        id=job_id,
        endpoint=receipt.model,
        prompt=receipt.prompt,
        negative_prompt=receipt.negative_prompt,
        num_inference_steps=receipt.num_inference_steps,
        guidance_scale=receipt.guidance_scale,
        width=receipt.width,
        height=receipt.height,
        output_size=receipt.output_size,
        seeds=(receipt.seed,),
        adapters=receipt.adapters,
        scheduler=receipt.scheduler_asked,
        scheduler_config=receipt.scheduler_config,
        matting=receipt.matting,
        arguments=dict(receipt.arguments),
    )


def differences(receipt: Receipt, again: Receipt) -> list[str]:
    """What differs between a receipt and the one of its repetition, a line each."""
    lines = []
    for name, digest in receipt.digests.items():
        if (now := again.digests.get(name)) != digest:
            lines.append(f"weights of {name}: {digest} then, {now} now")
    for name, then in receipt.versions.items():
        if (now := again.versions.get(name)) != then:
            lines.append(f"{name}: {then} then, {now} now")
    if receipt.scheduler != again.scheduler:
        lines.append(f"scheduler: {receipt.scheduler} then, {again.scheduler} now")
    if receipt.num_images:
        lines.append("the picture was made from input images, which a receipt does not hold")
    return lines
