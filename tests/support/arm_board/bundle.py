"""Bundles of a few bytes, whose Python is a script of the board's shell."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

from edgewise.targets.validation.devices.bundle.installation import Bundle, Installation

#: says that it starts, and becomes a runner that waits for the end of its input
WAITS = 'case "$*" in *tempfile*) exit 0;; esac; touch "$TMPDIR/file"; exec cat > /dev/null'
#: a runner that the kernel ends, as it does where memory is short
KILLED = 'case "$*" in *tempfile*) exit 0;; esac; touch "$TMPDIR/file"; kill -9 $$'


def tiny(
    folder: Path, does: str = WAITS, digest: str = "0123abcd", *, more: int = 0
) -> Installation:
    """`more` bytes are in the archive alone, so that nobody counts on them."""
    root = folder / f"bundle-{digest}"
    (root / "lib").mkdir(parents=True)
    (root / "bin").mkdir()
    (root / "bin" / "python3").write_bytes(os.urandom(5000))
    loader = root / "lib" / "ld-linux-aarch64.so.1"
    loader.write_text(f"#!/bin/sh\n{does}\n", encoding="utf-8")
    loader.chmod(0o755)
    archive = root.with_suffix(".tar.gz")
    with tarfile.open(archive, "w:gz") as tar:
        for name in ("lib", "bin"):
            tar.add(root / name, name)
        if more:
            large = folder / "large"
            large.write_bytes(bytes(more))
            tar.add(large, "large")
    return Installation(Bundle(root, archive, digest, {}), None, "")
