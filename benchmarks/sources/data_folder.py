"""Where the models and labelled data of the documented commands lie: `$DATA`."""

from __future__ import annotations

import os
from pathlib import Path

#: as `benchmarks/all_sources.py` is told; beside the checkout without
DATA = Path(os.environ.get("DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
