"""Programs that some tests drive and pip does not install."""

import os
import shutil

import pytest


def program(name: str, *others: str, package: str) -> str:
    """The path of the first of these programs that is here.

    Where none is, the test is skipped on a developer's machine and fails where `CI` is set.
    """
    for candidate in (name, *others):
        if path := shutil.which(candidate):
            return path
    missing = f"needs {name} (apt-get install {package})"
    if os.environ.get("CI"):
        pytest.fail(missing)
    pytest.skip(missing)
