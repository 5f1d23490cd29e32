"""Requests that are small and mean much: each is one kind of what strangers send.

`requests` yields them for any application with the endpoint `model`, whose checkpoint goes
by its id. None of them may be answered by a 5xx, nor hold up anybody else.
"""

import base64
import struct
import zlib
from collections.abc import Iterator
from io import BytesIO
from typing import Any

from PIL import Image

from tests.resilience.hostile import JSON, LARGE, MIB, Hostile, posted
from tests.resilience.wrappings import wrapped

Graph = dict[str, dict[str, Any]]


def requests(model: str, *, edits: bool = True) -> Iterator[Hostile]:
    """Every request of the corpus; `edits` where the model redraws pictures."""
    for name, graph in graphs(model):
        yield posted(f"graph {name}", "/api/run", {"workflow_api": graph})
        yield posted(f"stored graph {name}", "/api/v1/workflows", {"workflow_api": graph})
    for name, inputs in model_inputs():
        yield posted(f"inputs {name}", "/api/run", {"model_id": model, "inputs": inputs})
    yield from _batches(model)
    yield from _images(model)
    yield from _bodies()
    yield from wrapped(model)
    if edits:
        yield from _edits(model)


def graphs(model: str) -> Iterator[tuple[str, Graph]]:
    """Graphs whose links multiply what they hold."""
    yield "strings doubled", doubled_strings(model)
    yield "strings doubled by their delimiter", doubled_strings(model, delimiter=True)
    yield "prompt of 2 MB", _with(model, {}, text="a " * (LARGE // 2))
    yield "prompts combined", _combined(model)
    prefixed = _node("SaveImage", images=["8", 0], filename_prefix="p" * LARGE)
    yield "prefix of 2 MB", _with(model, {"9": prefixed})
    yield "picture batched and inverted", _batched_pictures(model)
    yield "picture inverted for ever", _inverted(model, 1500)
    yield "latent scaled for ever", _scaled_latents(model)
    yield "picture scaled to the most", _scaled_picture(model)
    yield "pictures drawn for ever", _many_samplers(model, 40, 64)
    yield "latent of 4096 pictures", _with(model, {}, batch_size=4096)
    yield "outputs without end", _many_outputs(model, 1500)
    yield "nodes without end", {str(n): _node("ImageInvert", image=["0", 0]) for n in range(5_000)}
    yield "nested", _with(model, {"x": _node("SaveImage", images=_nested(900))})
    yield "an id of 2 MB", _with(model, {"i" * LARGE: _node("SaveImage", images=["8", 0])})
    yield "a class of 2 MB", _with(model, {"x": _node("C" * LARGE)})
    yield "faults without end", {str(n): _node("SaveImage", images=n) for n in range(1900)}


def model_inputs() -> Iterator[tuple[str, dict[str, Any]]]:
    """Inputs of a model that are larger than they need be."""
    yield "prompt of 2 MB", {"prompt": "a" * LARGE}
    yield "negative prompt of 2 MB", {"prompt": "a", "negative_prompt": "a" * LARGE}
    yield "unknown of 2 MB", {"prompt": "a", "unknown": "a" * LARGE}
    yield "nested", {"prompt": "a", "unknown": _nested(900)}
    yield "LoRAs without end", {"prompt": "a", "loras": [{"name": "x"}] * 100_000}
    yield "pictures without end", {"prompt": "a", "image": ["img"] * 20_000}
    yield "a bomb", {"prompt": "a", "image": data_url(bomb(30_000, 30_000))}


def doubled_strings(model: str, doublings: int = 30, *, delimiter: bool = False) -> Graph:
    """Each node joins the last one's text to itself: a GiB of 3.7 KB."""
    chain = {"s0": _node("PrimitiveString", value="x")}
    for n in range(1, doublings + 1):
        last = [f"s{n - 1}", 0]
        middle = last if delimiter else ""
        chain[f"s{n}"] = _node("StringConcatenate", string_a=last, string_b=last, delimiter=middle)
    return _with(model, chain, text=[f"s{doublings}", 0])


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims to be huge."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        size, check = struct.pack(">I", len(data)), struct.pack(">I", zlib.crc32(kind + data))
        return size + kind + data + check

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data + chunk(b"IEND", b"")


def blank(width: int, height: int) -> bytes:
    """A whole PNG of one colour: tens of KB for tens of megapixels."""
    out = BytesIO()
    Image.new("L", (width, height)).save(out, "png")
    return out.getvalue()


def data_url(data: bytes) -> str:
    """Bytes as clients inline them."""
    return "data:image/png;base64," + base64.b64encode(data).decode()


def _batches(model: str) -> Iterator[Hostile]:
    few = {"prompt": "a"}
    yield _run(
        "batch of all combinations",
        model,
        few,
        batch_input_params={f"p{n}": [1, 2] for n in range(5000)},
    )
    yield _run("batch of large inputs", model, few | {"note": "n" * 900_000}, batch_number=1000)
    yield _run("batch without end", model, few, batch_number=10**12)
    yield _run(
        "batch of nothing", model, few, batch_input_params={f"p{n}": [1] for n in range(9000)}
    )


def _images(model: str) -> Iterator[Hostile]:
    path = "/v1/images/generations"
    for name, value in (
        ("prompt", "a" * LARGE),
        ("negative_prompt", "a" * LARGE),
        ("n", 10**9),
        ("size", "9" * LARGE),
        ("size", "16384x16384"),
        ("model", "m" * LARGE),
        ("loras", [{"name": "x", "scale": 1}] * 100_000),
        ("loras", [{"name": "x" * LARGE}]),
        ("scheduler", "S" * LARGE),
        ("response_format", "r" * LARGE),
        ("user", _nested(900)),
    ):
        body = {"model": model, "prompt": "a", name: value}
        yield posted(f"{name} of {type(value).__name__} beyond measure", path, body)


def _edits(model: str) -> Iterator[Hostile]:
    path = "/v1/images/edits"
    for name, picture in (
        ("a bomb", bomb(30_000, 30_000)),
        ("a pillar", bomb(1, 39_000_000)),
        ("a blank of 16 megapixels", blank(4000, 4000)),
        ("noise that is no picture", b"\x89PNG\r\n\x1a\n" + bytes(MIB)),
    ):
        body = {"model": model, "prompt": "a", "images": [{"image_url": data_url(picture)}]}
        yield posted(f"edit of {name}", path, body)
    for mib in (15, 17):
        inline = "data:image/png;base64," + "A" * (mib * MIB)
        yield posted(f"edit of {mib} MiB of base64", path, {"prompt": "a", "image": inline})
    spaced = "data:image/png;base64," + "A \n" * LARGE
    yield posted("edit of spaced base64", path, {"prompt": "a", "image": spaced})
    yield posted("edit of 100,000 pictures", path, {"prompt": "a", "images": ["x"] * 100_000})


def _bodies() -> Iterator[Hostile]:
    """Bodies that are small on the wire and large in memory."""
    for path in ("/v1/images/generations", "/v1/images/edits", "/api/run", "/api/v1/workflows"):
        for name, body in (
            ("lists", b'{"prompt":[' + b"[]," * (LARGE // 3) + b"[]]}"),
            ("objects", b'{"prompt":[' + b'{"a":{}},' * (LARGE // 9) + b"[]]}"),
            ("keys", b"{" + b",".join(b'"%d":0' % n for n in range(300_000)) + b"}"),
            ("brackets", b"[" * LARGE),
            ("decimals of large exponents", b'{"prompt":[' + b"1e308," * 70_000 + b"1]}"),
            ("numbers of many digits", b'{"prompt":[' + (b"9" * 600 + b",") * 3_000 + b"1]}"),
            ("escapes", b'{"prompt":"' + b"\\u0041" * (LARGE // 6) + b'"}'),
        ):
            yield Hostile(f"{name} at {path}", "POST", path, body, JSON)


def _run(name: str, model: str, inputs: dict[str, Any], **more: Any) -> Hostile:
    return posted(name, "/api/run", {"model_id": model, "inputs": inputs} | more)


def _node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def _with(
    model: str,
    more: Graph,
    *,
    text: Any = "a cat",
    images: Any = ("8", 0),
    latent: Any = ("5", 0),
    batch_size: int = 1,
) -> Graph:
    """The smallest graph that draws, with more nodes and some of its inputs changed."""
    return {
        "4": _node("CheckpointLoaderSimple", ckpt_name=model),
        "5": _node("EmptyLatentImage", width=64, height=64, batch_size=batch_size),
        "6": _node("CLIPTextEncode", text=text, clip=["4", 1]),
        "7": _node("CLIPTextEncode", text="", clip=["4", 1]),
        "3": _sampler(latent),
        "8": _node("VAEDecode", samples=["3", 0], vae=["4", 2]),
        "9": _node("SaveImage", images=list(images), filename_prefix="p"),
    } | more


def _sampler(latent: Any) -> dict[str, Any]:
    return _node(
        "KSampler",
        **{"model": ["4", 0], "seed": 1, "steps": 1, "cfg": 1, "denoise": 1},
        **{"sampler_name": "euler", "scheduler": "simple", "latent_image": list(latent)},
        **{"positive": ["6", 0], "negative": ["7", 0]},
    )


def _combined(model: str) -> Graph:
    """Prompts joined to each other, each time with a word more, so that none equals another."""
    more, last = {}, ["6", 0]
    for n in range(30):
        more[f"w{n}"] = _node("ConditioningZeroOut", conditioning=["7", 0])
        more[f"c{n}"] = _node("CLIPTextEncode", text="b" * (n + 1), clip=["4", 1])
        joined = _node("ConditioningCombine", conditioning_1=last, conditioning_2=[f"c{n}", 0])
        more[f"j{n}"] = joined
        doubled = _node("ConditioningConcat", conditioning_to=last, conditioning_from=[f"j{n}", 0])
        more[f"d{n}"] = doubled
        last = [f"d{n}", 0]
    graph = _with(model, more)
    graph["3"]["inputs"]["positive"] = last
    return graph


def _batched_pictures(model: str) -> Graph:
    """One large picture, 64 times, each inverted twenty times."""
    more = {"l": _node("LoadImage", image=data_url(blank(4000, 4000)))}
    last = ["l", 0]
    for n in range(6):
        more[f"b{n}"] = _node("ImageBatch", image1=last, image2=last)
        last = [f"b{n}", 0]
        for m in range(20):
            more[f"i{n}-{m}"] = _node("ImageInvert", image=last)
            last = [f"i{n}-{m}", 0]
    return _with(model, more, images=last)


def _inverted(model: str, count: int) -> Graph:
    more, last = {}, ["8", 0]
    for n in range(count):
        more[f"i{n}"] = _node("ImageInvert", image=last)
        last = [f"i{n}", 0]
    return _with(model, more, images=last)


def _scaled_latents(model: str) -> Graph:
    more, last = {}, ["5", 0]
    for n in range(500):
        more[f"u{n}"] = _node(
            "LatentUpscaleBy", samples=last, upscale_method="bilinear", scale_by=8
        )
        last = [f"u{n}", 0]
    return _with(model, more, latent=last)


def _scaled_picture(model: str) -> Graph:
    more = {
        "l": _node("LoadImage", image=data_url(blank(1, 100_000))),
        "s": _node(
            "ImageScale",
            **{"image": ["l", 0], "upscale_method": "lanczos", "crop": "disabled"},
            **{"width": 16_384, "height": 16_384},
        ),
    }
    return _with(model, more, images=["s", 0])


def _many_samplers(model: str, samplers: int, batch_size: int) -> Graph:
    more: Graph = {}
    for n in range(samplers):
        more[f"k{n}"] = _sampler(["5", 0])
        more[f"v{n}"] = _node("VAEDecode", samples=[f"k{n}", 0], vae=["4", 2])
        more[f"p{n}"] = _node("PreviewImage", images=[f"v{n}", 0])
    return _with(model, more, batch_size=batch_size)


def _many_outputs(model: str, count: int) -> Graph:
    more = {f"o{n}": _node("PreviewImage", images=["8", 0]) for n in range(count)}
    return _with(model, more)


def _nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value
