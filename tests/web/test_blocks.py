"""A picture edited over HTTP by a pipeline made of blocks."""

import io
from pathlib import Path

import numpy
from litestar.testing import TestClient
from PIL import Image

from gateway.app import create_app
from gateway.engine.pipelines.pixels import to_image
from gateway.settings import Settings
from tests.engine.blocks import build
from tests.engine.pipelines.test_call import noise
from tests.engine.pipelines.test_modular import stock_edit
from tests.engine.workbench import job

ROUNDING = 1.01 / 255


def test_an_edit_draws_what_stock_blocks_draw(tmp_path: Path) -> None:
    place = tmp_path / "models/blocks"
    build("z_image").save_pretrained(str(place))
    (place / "card.toml").write_text(
        'id = "blocks"\nsource = "."\ndtype = "float32"\n'
        "sizes = { native = [32, 32], min = 16, max = 64, multiple_of = 16 }\n"
    )
    wanted = job("z_image", "a red cat", 1, 2, images=(noise(3, 1),), strength=0.5, arguments={})
    file = io.BytesIO()
    to_image(wanted.images[0]).save(file, "PNG")
    form = {"model": "blocks", "prompt": "a red cat", "seed": "1", "num_inference_steps": "2",
            "strength": "0.5", "size": "32x32"}  # fmt: skip
    settings = Settings(models=tmp_path / "models", endpoints=("blocks",),
                        data=tmp_path / "data", threads=1)  # fmt: skip
    with TestClient(create_app(settings)) as client:
        answer = client.post("/v1/images/edits", data=form, headers={"Accept": "image/png"},
                             files={"image": ("cat.png", file.getvalue(), "image/png")})
    assert answer.status_code == 200, answer.text
    image = Image.open(io.BytesIO(answer.content)).convert("RGB")
    pixels = numpy.asarray(image, dtype=numpy.float32) / 255
    picture = stock_edit("z_image", wanted).permute(1, 2, 0).float().numpy()
    assert numpy.abs(pixels - picture).max() <= ROUNDING
