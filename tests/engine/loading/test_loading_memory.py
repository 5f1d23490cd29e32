"""How much memory loading takes on its way: the weights, and the largest part once more."""

import subprocess
import sys
from pathlib import Path

from diffusers import StableDiffusionPipeline

from tests.engine import single_files, tiny
from tests.serving import ENVIRONMENT, ROOT

SLACK_BYTES = 16 * 2**20
"""Of code and buffers that a load brings along, whatever its size."""

PROGRAM = """
import sys
from pathlib import Path
import torch
from gateway.catalog.folders import load_catalog
from gateway.engine.loading.loading import load

def memory(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(key)).split()[1])

kept = []
cards = load_catalog((Path(sys.argv[1]),), ()).endpoints
for id in ("first", "folder", "file"):
    Path("/proc/self/clear_refs").write_text("5")  # the peak is the present
    before = memory("VmRSS")
    loaded = load(cards[id], torch.device("cpu"))
    print(id, memory("VmHWM") - before, loaded.size_bytes)
    kept.append(loaded)  # what is freed would be used again
"""


def large() -> StableDiffusionPipeline:
    """A pipeline of 100 MiB, two thirds of it the UNet's."""
    pipeline = tiny.build("sd")
    pipeline.register_modules(
        unet=tiny.unet(block_out_channels=(160, 320), norm_num_groups=32, layers_per_block=1),
        vae=tiny.kl(block_out_channels=(96, 192)),
    )
    return pipeline


def test_loading_takes_the_weights_and_the_largest_part(tmp_path: Path) -> None:
    pipeline, names = large(), single_files.whole_parts(large())
    parts = [
        sum(weight.nbytes for weight in getattr(pipeline, name).state_dict().values())
        for name in names
    ]
    for id in ("first", "folder"):
        pipeline.save_pretrained(tmp_path / id)
    single_files.save(single_files.sd_file(pipeline), tmp_path / "file.safetensors")
    single_files.configs(pipeline, tmp_path / "configs", without=names)
    card = 'id = "file"\nsource = "file.safetensors"\nconfig = "configs"\n'
    (tmp_path / "file.toml").write_text(card)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], cwd=ROOT, env=ENVIRONMENT,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines()[1:]:
        _, peak, held = line.split()
        assert int(held) >= sum(parts)
        assert 0.8 * sum(parts) < int(peak) <= sum(parts) + max(parts) + SLACK_BYTES
