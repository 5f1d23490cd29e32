"""Which device an endpoint runs on."""

import torch

from gateway.catalog.cards import EndpointCard


def device_of(card: EndpointCard, default: str) -> torch.device:
    """The device a card names, or the default one, or the fastest there is."""
    name = default if card.device == "auto" else card.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
