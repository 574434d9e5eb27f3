"""`edgewise run`: a model file on arrays, or what it takes and gives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt

from edgewise.arrays_file import read_arrays, write_arrays
from edgewise.cli_run import Terminal
from edgewise.errors import UsageError
from edgewise.execution import ROUNDINGS, Executable, TensorInfo, close, fit, open_file
from edgewise.targets.base import LOCAL

Array = npt.NDArray[Any]
#: of the dictionary that a classifier gives: beside the values under its own name
_LABELS = "/labels"


def execute_command(
    terminal: Terminal,
    path: Path,
    given: Path | None,
    output: Path | None,
    function: str | None,
    threads: int,
    rounding: str,
    device: str,
) -> None:
    """`edgewise run`. Without inputs, list the tensors."""
    if threads < 1:
        raise UsageError(f"found {threads}; allowed: 1 and more", where="--threads")
    if rounding not in ROUNDINGS:
        allowed = ", ".join(ROUNDINGS)
        raise UsageError(f"found '{rounding}'; allowed: {allowed}", where="--rounding")
    if output is not None and given is None:
        raise UsageError("nothing to write", where="--output", remedy="Give --input as well.")
    feeds = None if given is None else read_arrays(given)
    terminal.progress.step(f"load {path}" if device == LOCAL else f"load {path} on {device}")
    opened = open_file(
        path,
        function=function,
        threads=threads,
        rounding="declared" if rounding == "declared" else "none",
        device=device,
    )
    try:
        if feeds is None:
            _print_tensors(terminal.result(), opened)
            return
        terminal.progress.step("run")
        arrays = dict(_plain(opened.run(fit(feeds, opened.inputs))))
    finally:
        close(opened)
    if output is not None:
        write_arrays(output, arrays)
    stream = terminal.result()
    _print_arrays(stream, arrays)
    if output is not None:
        stream.write(f"outputs: {output}\n")


def _plain(results: Mapping[str, Any]) -> Iterator[tuple[str, Array]]:
    """Arrays alone: what a classifier says of each label becomes two of them."""
    for name, value in results.items():
        if isinstance(value, Mapping):
            yield name, np.asarray(list(value.values()))
            yield name + _LABELS, np.asarray(list(value))
        else:
            yield name, np.asarray(value)


def _print_tensors(stream: TextIO, opened: Executable) -> None:
    rows = [["", "name", "shape", "type"]]
    states: Sequence[TensorInfo] = getattr(opened, "states", ())  # of a package
    sides = (("input", opened.inputs), ("state", states), ("output", opened.outputs))
    for side, tensors in sides:
        for info in tensors:
            shape = " x ".join(map(str, info.shape)) or "scalar"
            rows.append([side, info.name, shape, _type(info)])
    _print_rows(stream, rows, right=())


def _type(info: TensorInfo) -> str:
    if info.dtype == np.dtype(object):
        return "label, or values by label"  # what a classifier says
    color = getattr(info, "color_space", None)
    notes = [f"picture, {color}"] if color is not None else []
    sizes = getattr(info, "sizes", None)
    notes += [f"sizes {sizes}"] if sizes is not None else []
    notes += ["optional"] if getattr(info, "optional", False) else []
    return f"{info.dtype} ({', '.join(notes)})" if notes else str(info.dtype)


def _print_arrays(stream: TextIO, arrays: Mapping[str, Array]) -> None:
    rows = [["output", "shape", "type", "min", "max", "mean", "std"]]
    for name, array in arrays.items():
        shape = " x ".join(map(str, array.shape)) or "scalar"
        rows.append([name, shape, str(array.dtype), *_statistics(array)])
    _print_rows(stream, rows, right=(3, 4, 5, 6))
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            nan, infinite = int(np.isnan(array).sum()), int(np.isinf(array).sum())
            stream.write(f"warning: output '{name}' holds {nan} NaN and {infinite} infinities\n")


def _statistics(array: Array) -> list[str]:
    """Of the finite numbers."""
    if array.dtype.kind not in "fiub" or not array.size:
        return [str(array.item())[:40] if array.ndim == 0 else "", "", "", ""]
    numbers = array.astype(np.float64)
    finite = numbers[np.isfinite(numbers)]
    if not finite.size:
        return ["", "", "", ""]
    return [f"{value:.6g}" for value in (finite.min(), finite.max(), finite.mean(), finite.std())]


def _print_rows(stream: TextIO, rows: Sequence[Sequence[str]], right: Sequence[int]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [
            text.rjust(width) if column in right else text.ljust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        stream.write("  ".join(cells).rstrip() + "\n")
