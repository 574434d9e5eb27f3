"""Converts every .onnx file of a folder with onnx2coreml, in an environment of its own.

python benchmarks/apple_peers/onnx2coreml_peer.py FOLDER

Writes `<name>.mlpackage` beside each model that it takes, and `status.json`: name -> "" or the
first line of the refusal.
"""

from __future__ import annotations

import json
import logging
import sys
import warnings
from pathlib import Path

warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)

import onnx2coreml  # noqa: E402  # after its chatter is off


def convert(path: Path) -> str:
    try:
        model = onnx2coreml.convert(str(path), compute_precision="fp32")
        model.save(str(path.with_suffix(".mlpackage")))
    except Exception as error:
        lines = str(error).strip().splitlines()
        return f"{type(error).__name__}: {lines[0] if lines else ''}"
    return ""


def main() -> None:
    folder = Path(sys.argv[1])
    status = {path.stem: convert(path) for path in sorted(folder.glob("*.onnx"))}
    (folder / "status.json").write_text(json.dumps(status, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
