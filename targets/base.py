"""The contract of a target: the few things that every target offers, and what they exchange."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgewise.calibration.scheme import Scheme
from edgewise.findings import Finding

Array = npt.NDArray[Any]
Feeds = Mapping[str, Array]

#: the device that is this machine
LOCAL = "local"


@dataclass(frozen=True, slots=True)
class Normalization:
    """What a file does to its pictures itself: hub channel `c` is `(pixel - mean[c]) / std[c]`,
    where `pixel` is channel `order[c]` of the file's input."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    order: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TensorSignature:
    """One input or output of an artifact, beside the hub model's own view of it.

    `shape`, `dtype` and `layout` describe the tensor in the file; `hub_shape` and `hub_dtype` the
    tensor of the hub model. File axis `k` is hub axis `perm[k]`. With a scale, a file value `q`
    stands for `(q - zero_point) * scale`; with a normalization, the file takes pixels. Dimensions
    that are names are free: one name is one number in each run.
    """

    name: str  # name in the hub model
    file_name: str  # name in the artifact
    shape: tuple[int | str, ...]
    dtype: str
    layout: str  # "NHWC", "NCHW", or "" where the rank has no such convention
    hub_shape: tuple[int | str, ...]
    hub_dtype: str
    perm: tuple[int, ...]
    scale: float | None = None
    zero_point: int | None = None
    normalization: Normalization | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """`manifest.json`: what an application needs to know to use the artifact."""

    name: str
    target: str
    precision: str
    inputs: tuple[TensorSignature, ...]
    outputs: tuple[TensorSignature, ...]
    files: Mapping[str, Mapping[str, Any]]  # relative path -> {"size_bytes", "sha256"}
    versions: Mapping[str, str]
    labels: tuple[str, ...] = ()
    preprocessing: Mapping[str, Any] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)  # what the target itself adds

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Artifact:
    """Files on disk that a device runs: `path` is a file, or the folder of an `.mlpackage`."""

    path: Path
    manifest: Manifest
    findings: tuple[Finding, ...] = ()

    @property
    def target(self) -> str:
        return self.manifest.target

    @property
    def size_bytes(self) -> int:
        """What is loaded on a device, without files that only lie beside it."""
        beside = self.manifest.options.get("beside", ())
        files = self.manifest.files.items()
        return sum(int(entry["size_bytes"]) for name, entry in files if name not in beside)


@runtime_checkable
class Session(Protocol):
    """An artifact opened on a device.

    `run` takes and gives arrays with the hub model's names, layouts and dtypes (float where the
    file holds quantized values).
    """

    device: str
    threads: int
    #: None where a latency measured through this session is the device's own; else why it is not
    latency_reason: str | None

    def run(self, feeds: Feeds) -> dict[str, Array]: ...

    def prepare(self, feeds: Feeds) -> None:
        """Convert and load the inputs, so that `invoke` times nothing but the runtime."""

    def invoke(self) -> None:
        """Run the prepared inputs once and drop the outputs."""

    def close(self) -> None: ...


@runtime_checkable
class BatchSession(Protocol):
    """A session that is far away, so that several examples are sent at once."""

    def run_many(self, samples: Sequence[Feeds]) -> list[dict[str, Array]]:
        """The outputs of each example, as `run` gives them."""


@runtime_checkable
class RemoteSession(Protocol):
    """A session on another machine, which takes the times of runs with its own clock: the way there
    is not part of them."""

    def time_runs(self, runs: int) -> list[int]:
        """Nanoseconds of each of so many runs of the prepared inputs."""


@dataclass(frozen=True, slots=True)
class About:
    """What a file says about itself beside its name; empty where the user says nothing."""

    description: str = ""
    version: str = ""
    author: str = ""
    license: str = ""


@dataclass(frozen=True, slots=True)
class EmitOptions:
    """What the build knows beyond the graph; every target understands all of it."""

    name: str = "model"
    labels: tuple[str, ...] = ()
    preprocessing: Mapping[str, Any] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)  # [targets.<name>] beyond precision
    about: About = About()
    #: files that an application needs beside the artifact, by name
    beside: Mapping[str, bytes] = field(default_factory=dict)


class Target(Protocol):
    """One folder below `edgewise.targets`, one line in its table."""

    name: str
    #: precisions offered, the default one first
    precisions: tuple[str, ...]
    #: keys of [targets.<name>] beside the precision
    options: tuple[str, ...]

    def scheme(self, precision: str, options: Mapping[str, Any] | None = None) -> Scheme:
        """How the target wants the QDQ model, with what `[targets.<name>]` says of it.

        Raises UnsupportedPrecision, or UsageError for an option.
        """

    def check_options(self, options: Mapping[str, Any], precision: str) -> None:
        """Raises UsageError for an option of [targets.<name>] that is unknown or cannot be."""

    def check(
        self, model: ir.Model, precision: str | None = None, *, options: EmitOptions | None = None
    ) -> list[Finding]:
        """Remarks on a float or QDQ model; severity `error` marks what `emit` will refuse.

        With the precision and the options that `emit` is to have, what these ask of the model is
        checked, too, as far as the target can: the model may be the float one that will be
        quantized. Raises what `emit` would raise of them.
        """

    def emit(
        self,
        model: str | Path | ir.Model,
        out_dir: str | Path,
        precision: str = "fp32",
        *,
        options: EmitOptions | None = None,
    ) -> Artifact:
        """Write the artifact and its `manifest.json` into `out_dir`.

        Raises UnsupportedOperator or ModelError before anything is written.
        """

    def open(
        self, artifact: Artifact | str | Path, device: str = "local", *, threads: int = 1
    ) -> Session:
        """Load the artifact from disk. Raises DeviceError when the device is unavailable."""


def to_file(array: Array, tensor: TensorSignature) -> Array:
    """Hub layout and dtype to the file's: transpose, and quantize where it holds integers.

    Where the file normalizes by itself, the pixels that the array was made from; what no pixel
    gives is rounded to the nearest one.
    """
    moved = np.transpose(array, tensor.perm) if array.ndim else array
    if tensor.normalization is not None:
        moved = _pixels(moved, tensor.normalization, tensor.layout)
        return np.asarray(moved, dtype=np.dtype(tensor.dtype), order="C")
    if tensor.scale is None:
        return np.asarray(moved, dtype=np.dtype(tensor.dtype), order="C")
    info = np.iinfo(np.dtype(tensor.dtype))
    # QuantizeLinear of ONNX: divide in float32, round half to even, saturate.
    rounded = np.rint(moved.astype(np.float32) / np.float32(tensor.scale))
    shifted = rounded + np.float32(tensor.zero_point or 0)
    return np.asarray(np.clip(shifted, info.min, info.max), dtype=tensor.dtype, order="C")


def _pixels(array: Array, normalization: Normalization, layout: str) -> Array:
    last = np.moveaxis(array, 1, -1) if layout == "NCHW" else array
    mean, std = (np.asarray(n, np.float64) for n in (normalization.mean, normalization.std))
    pixels = np.empty(last.shape, np.float64)
    pixels[..., list(normalization.order)] = last * std + mean
    whole = np.clip(np.rint(pixels), 0, 255)
    return np.moveaxis(whole, -1, 1) if layout == "NCHW" else whole


def from_file(array: Array, tensor: TensorSignature) -> Array:
    """The file's layout and dtype back to the hub's: dequantize, then transpose."""
    value = array
    if tensor.scale is not None:
        centred = value.astype(np.int32) - np.int32(tensor.zero_point or 0)
        value = centred.astype(np.float32) * np.float32(tensor.scale)
    if value.ndim:
        value = np.transpose(value, np.argsort(tensor.perm))
    return np.asarray(value, dtype=np.dtype(tensor.hub_dtype), order="C")
