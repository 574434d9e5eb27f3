"""Emission of one QDQ model in a process of its own.

python benchmarks/android_peers/edgewise_emit.py MODEL.qdq.onnx OUT_FOLDER
"""

from __future__ import annotations

import sys

import edgewise


def main() -> None:
    source, folder = sys.argv[1:3]
    edgewise.targets.get("android").emit(source, folder, "w8a8")


if __name__ == "__main__":
    main()
