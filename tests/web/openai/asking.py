"""What tests of the images API ask, of which endpoints, and how they look at the answer."""

from io import BytesIO
from typing import Any

from litestar import Litestar
from litestar.testing import TestClient
from PIL import Image

from gateway.catalog.cards import AdapterCard, ControlCard, EndpointCard, Sizes
from gateway.catalog.catalog import Catalog

PATH = "/v1/images/generations"
Client = TestClient[Litestar]


def two_endpoints() -> Catalog:
    """`tiny` draws 64 pixels at sizes of its own, `resampled` answers any size."""
    tiny = EndpointCard(id="tiny", sizes=Sizes(native=(64, 64), min=32, max=256, multiple_of=8))
    sizes = Sizes(native=(64, 64), min=16, max=2048, multiple_of=8, resample=True)
    resampled = EndpointCard(id="resampled", sizes=sizes)
    keyed = EndpointCard(id="keyed", sizes=Sizes(native=(64, 64), min=32), matting="border")
    style = AdapterCard(
        endpoint="tiny", route="style", source="style.safetensors", scale_range=(0.0, 2.0)
    )
    controls = {
        (owner, route): ControlCard(endpoint=owner, route=route, source=route)
        for owner, route in (("tiny", "canny"), ("resampled", "canny"), ("resampled", "depth"))
    }
    return Catalog(
        {"tiny": tiny, "resampled": resampled, "keyed": keyed},
        {("tiny", "style"): style},
        {"dall-e-3": "tiny", "gpt-image-*": "tiny", "chatgpt-*": "tiny:style"},
        controls=controls,
    )


def post(client: Client, **body: Any) -> Any:
    return client.post(PATH, json={"prompt": "a cat", **body})


def picture(data: bytes) -> Image.Image:
    image = Image.open(BytesIO(data))
    image.load()
    return image


def refused(answer: Any, status: int, code: str | None, param: str | None) -> str:
    """Check an error envelope and return its message."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("application/json")
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["code"], error["param"]) == (code, param)
    assert "Traceback" not in error["message"]
    return str(error["message"])
