"""Train the `emoji` model: `python models/emoji/recipe STAGE… --minutes N --device cpu`."""

import argparse
from pathlib import Path

import torch
from subjects import fetch, rasterise, read_subjects

STAGES = (
    "data",
    "autoencoder",
    "prior",
    "colours",
    "decide",
    "denoiser",
    "3d",
    "line",
    "export",
    "evaluate",
)


def main() -> None:
    """Run the stages asked for, each within the time budget."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stages", nargs="*", choices=[*STAGES, []], default=list(STAGES))
    parser.add_argument("--minutes", type=float, default=60, help="minutes per training stage")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--work", type=Path, default=Path.home() / ".cache" / "gateway-emoji")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    for stage in given.stages:
        _run(stage, given.work, given.minutes, torch.device(given.device))


def _run(stage: str, work: Path, minutes: float, device: torch.device) -> None:
    """Stages import what they need: the data stage needs no torch models, and so on."""
    match stage:
        case "data":
            folders = fetch(work)
            rasterise(folders, read_subjects(folders), work)
        case "autoencoder":
            from autoencoder import train_autoencoder  # noqa: PLC0415

            train_autoencoder(work, minutes, device)
        case "prior":
            from prior import train_prior  # noqa: PLC0415

            train_prior(work, minutes, device)
        case "colours":
            from binding import train_binding  # noqa: PLC0415

            train_binding(work, minutes, device)
        case "decide":
            from deciding import train_deciding  # noqa: PLC0415

            train_deciding(work, minutes, device)
        case "denoiser":
            from denoiser import train_denoiser  # noqa: PLC0415

            train_denoiser(work, minutes, device)
        case "3d" | "line":
            from adapters import train_adapter  # noqa: PLC0415

            train_adapter(stage, work, minutes, device)
        case "export":
            from export import export  # noqa: PLC0415

            export(work)
        case "evaluate":
            from evaluate import evaluate  # noqa: PLC0415

            evaluate(work)


if __name__ == "__main__":
    main()
