"""`edgewise merge`: several Core ML packages into one with a function for each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgewise.cli_run import Terminal
from edgewise.errors import UsageError


def merge_command(
    terminal: Terminal, packages: Sequence[str], name: str, default: str | None, out: Path
) -> None:
    """`edgewise merge`. Each package is `FUNCTION=PATH`."""
    by_function = dict(_split(package) for package in packages)
    if len(by_function) != len(packages):
        raise UsageError("two packages for one function", where="PACKAGES")
    from edgewise.targets.apple.multifunction import merge

    terminal.progress.step(f"merge {len(by_function)} packages")
    artifact = merge(by_function, out, name=name, default=default)
    stream = terminal.result()
    stream.write(f"artifact: {artifact.path} ({artifact.size_bytes} bytes)\n")
    stream.write(f"functions: {', '.join(by_function)}\n")


def _split(package: str) -> tuple[str, str]:
    function, found, path = package.partition("=")
    if not found or not function or not path:
        raise UsageError(
            f"found '{package}'",
            where="PACKAGES",
            remedy="Give FUNCTION=PATH for each, as in decode=dist/decode.mlpackage.",
        )
    return function, path
