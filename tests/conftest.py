"""For all tests.

Hypothesis judges results, not the time that a busy machine takes for them. With CI set, the
examples are the same in every run, so that a change is judged by what it changed; elsewhere they
are random and keep looking.

Tests that run ARM64 code share what `edgewise emulator install` left in the cache (`make devices`
installs it), and are skipped where nothing is.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

from edgewise.errors import DeviceError
from edgewise.targets.validation.devices.bundle.installation import Installation, installed

settings.register_profile("search", deadline=None)
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable" if os.environ.get("CI") else "search")


@pytest.fixture(scope="session")
def emulator() -> Installation:
    """The installed ARM64 bundle and its emulator."""
    try:
        return installed()
    except DeviceError as error:
        pytest.skip(str(error))
