"""Every client that the suite runs is pinned, and the script knows which should be the newest."""

import pytest

from tests.clients.environments import NODE, PYTHON
from tests.clients.versions import is_behind, pinned


def test_every_client_is_pinned() -> None:
    names = {client.name for client in pinned()}
    assert {"together", "webuiapi", "openai", "@ai-sdk/openai", "litellm"} <= names
    assert len(names) < sum(map(len, PYTHON.values())) + len(NODE), "some are old on purpose"
    assert not {"friendli", "comfydeploy-old"} & names


@pytest.mark.parametrize(
    ("version", "latest", "behind"),
    [
        ("1.9.0", "1.10.0", True),
        ("2.0.0", "2.0.0", False),
        ("2.1.0", "2.0.9", False),
        ("2.0.0-beta.69", "2.0.0", True),
    ],
)
def test_versions_are_compared_by_their_parts(version: str, latest: str, behind: bool) -> None:
    assert is_behind(version, latest) is behind
