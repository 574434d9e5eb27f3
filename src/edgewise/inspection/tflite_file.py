"""TFLite files of any tool.

The arena is what LiteRT's own planner lays out for the kernels without delegates, scratch memory of
kernels among it: every tensor's place is asked of its interpreter, and what they cover is added up.
XNNPACK, which takes float and most int8 operators over, has a workspace of its own of about that
size, of which it tells nobody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgewise.errors import ModelError, UsageError
from edgewise.inspection.facts import TensorFacts
from edgewise.inspection.inspected import Inspected, parts_of
from edgewise.inspection.memory import liveness
from edgewise.inspection.network import Network
from edgewise.inspection.precision import forms_of
from edgewise.inspection.tflite_network import network_of, quantization_of, tensor_dtype
from edgewise.targets.android import runtime
from edgewise.targets.android.model import Tensor
from edgewise.targets.android.reader import File, UnreadableFile, read_file

_MOST_BYTES = 1_000_000_000
_ALIGNMENT = 64  # of tensors in LiteRT's arena
_RUNTIME = "min_runtime_version"
_ARENA = "LiteRT, built-in kernels with their scratch memory"


def inspect_tflite(path: Path, input_shapes: Mapping[str, Sequence[int | str]]) -> Inspected:
    """Raises ModelError: damaged. UsageError: shapes of other inputs, or that do not fit."""
    content = path.read_bytes()
    try:
        file = read_file(content, foreign=True)
        interpreter = _resized(content, file, input_shapes)
        network = network_of(file.main.graph, _free_dimensions(file))
    except UnreadableFile as error:
        raise ModelError(
            "cannot read the model", where=str(path), why=str(error), remedy="Convert it again."
        ) from error
    if interpreter is None and _is_plausible(network):
        interpreter = _loaded(content)
    return Inspected(
        kind="tflite",
        network=network,
        inputs=tuple(_tensor(tensor) for tensor in file.main.graph.inputs),
        outputs=tuple(_tensor(tensor) for tensor in file.main.graph.outputs),
        producer=file.description,
        versions={"schema": str(file.version), **_runtime(file)},
        needs=_operator_versions(file),
        parts=parts_of(path, {"constants": _constant_bytes(file)}),
        target="android",
        arena_bytes=None if interpreter is None else _arena(interpreter, file),
        arena_of=None if interpreter is None else _ARENA,
    )


def _tensor(tensor: Tensor) -> TensorFacts:
    free = tensor.shape_signature or tensor.shape
    shape = tuple(size if size >= 0 else None for size in free)
    scale, zero_point = quantization_of(tensor)
    return TensorFacts(tensor.name, shape, tensor_dtype(tensor), scale, zero_point)


def _free_dimensions(file: File) -> tuple[str, ...]:
    return tuple(
        f"{tensor.name}[{axis}]"
        for tensor in file.main.graph.inputs
        for axis, size in enumerate(tensor.shape_signature or ())
        if size < 0 and tensor.shape[axis] == 1
    )


def _is_plausible(network: Network) -> bool:
    """Whether LiteRT may be asked to allocate the tensors: it takes any size at its word."""
    peak = liveness(network, forms_of(network)).peak
    return peak is not None and peak <= _MOST_BYTES


def _loaded(content: bytes) -> Any | None:
    """LiteRT without delegates; None where it refuses the file, for custom operators mostly."""
    try:
        return runtime.load(content, threads=1, delegates=False)
    except runtime.LoadFailure:
        return None


def _resized(content: bytes, file: File, shapes: Mapping[str, Sequence[int | str]]) -> Any | None:
    """LiteRT with inputs of these shapes, and with them all tensors of `file`; None without."""
    wanted = _sizes(file, shapes)
    if not wanted:
        return None
    try:
        interpreter = runtime.load(content, threads=1, delegates=False)
        runtime.resize(interpreter, wanted)
    except runtime.LoadFailure as failure:
        raise UsageError(
            "LiteRT refuses these shapes", where="--input-shape", why=str(failure)
        ) from failure
    details = {detail["index"]: detail for detail in interpreter.get_tensor_details()}
    for index, tensor in enumerate(file.main.tensors):
        if index in details:
            tensor.shape = tuple(int(size) for size in details[index]["shape"])
    return interpreter


def _sizes(file: File, shapes: Mapping[str, Sequence[int | str]]) -> dict[int, list[int]]:
    """By index of the tensor, names of free dimensions as 1. Raises UsageError."""
    inputs = {t.name: i for t, i in zip(file.main.graph.inputs, file.main.inputs, strict=True)}
    for name in shapes:
        if name not in inputs:
            raise UsageError(
                f"the model has no input '{name}'", why=f"its inputs are {', '.join(inputs)}"
            )
    return {
        inputs[name]: [size if isinstance(size, int) else 1 for size in shape]
        for name, shape in shapes.items()
    }


def _arena(interpreter: Any, file: File) -> int:
    """Bytes that the tensors of the first graph and its kernels' scratch tensors cover."""
    constants = {i for i, tensor in enumerate(file.main.tensors) if tensor.data is not None}
    spans: list[tuple[int, int]] = []
    for detail in interpreter.get_tensor_details():
        if detail["index"] in constants:
            continue
        try:
            array = interpreter.tensor(detail["index"])()
        except (ValueError, RuntimeError):  # made only while the model runs
            continue
        start = int(array.__array_interface__["data"][0])
        spans.append((start, start + int(array.nbytes)))
    total = end = 0
    for start, stop in sorted(spans):
        gap = start - end
        if 0 < gap < _ALIGNMENT and total:
            total += gap
        total += max(0, stop - max(start, end))
        end = max(end, stop)
    return total


def _constant_bytes(file: File) -> int:
    """What the distinct buffers take."""
    by_buffer = {
        buffer: tensor.data.nbytes
        for subgraph in file.subgraphs
        for tensor, buffer in zip(subgraph.tensors, subgraph.buffers, strict=True)
        if tensor.data is not None and buffer in file.buffer_starts
    }
    packed = {
        buffer: -(-size // 2)
        for subgraph in file.subgraphs
        for tensor, buffer in zip(subgraph.tensors, subgraph.buffers, strict=True)
        if str(tensor.dtype) == "int4" and (size := by_buffer.get(buffer)) is not None
    }
    return sum((by_buffer | packed).values())


def _runtime(file: File) -> dict[str, str]:
    text = file.metadata.get(_RUNTIME, b"").rstrip(b"\0").decode(errors="replace")
    return {_RUNTIME: text} if text else {}


def _operator_versions(file: File) -> dict[str, str]:
    """The version of each operator that a runtime must have."""
    found: dict[str, int] = {}
    for subgraph in file.subgraphs:
        for operator in subgraph.graph.operators:
            found[operator.kind] = max(operator.version, found.get(operator.kind, 1))
    return {kind: f"version {version}" for kind, version in sorted(found.items())}
