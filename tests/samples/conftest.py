"""Where the shared pictures are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture
def imagenet() -> Path:
    root = Path(__file__).resolve().parents[2]
    shared = Path(os.environ.get("EDGEWISE_SHARED_DATA", root.parent / "shared" / "data"))
    if not (shared / "imagenet" / "labels.csv").is_file():
        pytest.skip("the pictures of ../shared/data/imagenet are absent")
    return shared / "imagenet"
