"""Running a model file, on this machine or on a device: `edgewise run`.

| file | executed by | names, shapes and types |
|---|---|---|
| `.mlpackage` of any tool | Edgewise's interpreter | the package's own |
| `.tflite`, `.onnx`, `.ort` of a build, beside its manifest | its target's session | the model's |
| `.tflite`, `.onnx` alone | LiteRT, ONNX Runtime; here or on the device | the file's own |

What lies beside the manifest of a build is checked against it first. Arrays of another width are
brought to the input's type where that changes no whole number.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from edgewise.errors import DataError, DeviceError, UsageError
from edgewise.targets.base import LOCAL
from edgewise.targets.manifest import MANIFEST_NAME, load_artifact

if TYPE_CHECKING:
    from edgewise.targets.base import Artifact, Session

Array = npt.NDArray[Any]
Rounding = Literal["declared", "none"]

ROUNDINGS: tuple[Rounding, ...] = ("declared", "none")
_PACKAGE = ".mlpackage"
#: files that are no packages: whose artifacts they are
_TARGETS = {".tflite": "android", ".onnx": "arm", ".ort": "arm"}
_NUMBERS = "iu"  # numpy's kinds of whole numbers


class TensorInfo(Protocol):
    """Name, shape (text for a size that is free) and numpy type of an input or output."""

    @property
    def name(self) -> str: ...
    @property
    def shape(self) -> tuple[int | str, ...]: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...


class Executable(Protocol):
    """A model file that was opened."""

    @property
    def inputs(self) -> Sequence[TensorInfo]: ...
    @property
    def outputs(self) -> Sequence[TensorInfo]: ...
    def run(self, feeds: Mapping[str, Array]) -> Mapping[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Tensor:
    """Implements `TensorInfo`."""

    name: str
    shape: tuple[int | str, ...]
    dtype: np.dtype[Any]


def run(
    path: str | Path,
    feeds: Mapping[str, Array],
    *,
    function: str | None = None,
    threads: int = 1,
    rounding: Rounding = "declared",
    device: str = LOCAL,
) -> dict[str, Any]:
    """Run a model file once.

    Args:
        path: `.mlpackage`, `.tflite`, `.onnx`, `.ort`, or the folder of an artifact.
        feeds: one array per input, by name.
        function: of a package with several; its default one without.
        rounding: of a package; `none` computes fp16 as float32.
        device: `local`, `emulated:cortex-a53`, `ssh://user@host`, `adb:SERIAL`, or a name from
            `edgewise devices`; a package of a build also runs on `mac:user@host`.

    Returns:
        The outputs by name; a classifier of a package also gives a label and a dictionary.

    Raises:
        UsageError: there is no such file, it is of another kind, or has no such function.
        ModelError: the file is damaged, or has an operation that cannot be executed here.
        DataError: an input is missing, unknown, or of another shape or type.
        DeviceError: the device is unavailable, or the runtime refuses the file or failed on it.
    """
    opened = open_file(path, function=function, threads=threads, rounding=rounding, device=device)
    try:
        return dict(opened.run(fit(feeds, opened.inputs)))
    finally:
        close(opened)


def open_file(
    path: str | Path,
    *,
    function: str | None = None,
    threads: int = 1,
    rounding: Rounding = "declared",
    device: str = LOCAL,
) -> Executable:
    """The file, loaded; to be given to `close`. Raises as `run` does, but for DataError."""
    path = _artifact_inside(Path(path))
    if not path.exists():
        raise UsageError("no such file", where=str(path), remedy="Check the path.")
    suffix = path.suffix.lower()
    artifact = load_artifact(path) if _described_by_manifest(path) else None
    if device != LOCAL:
        if function is not None or rounding != "declared":
            given = "--function" if function is not None else "--rounding"
            raise UsageError(f"{given} is for a package on this machine", where=f"--on {device}")
        return _on_device(path, artifact, device, threads)
    if suffix == _PACKAGE or path.is_dir():
        from edgewise.targets.apple.interpreter import Interpreter

        return Interpreter(path, threads=threads, rounding=rounding, function=function)
    if suffix not in _TARGETS:
        raise UsageError(
            "not a model file that can be run",
            where=str(path),
            remedy="Give a .mlpackage, .tflite, .onnx or .ort.",
        )
    if function is not None or rounding != "declared":
        given = "--function" if function is not None else "--rounding"
        raise UsageError(f"{given} is for a {_PACKAGE}", where=str(path))
    if artifact is not None:
        return _Artifact(artifact, threads, LOCAL)
    _check_tells_its_ends(path)
    return _TfliteFile(path, threads) if suffix == ".tflite" else _OnnxFile(path, threads)


def _check_tells_its_ends(path: Path) -> None:
    """Raises UsageError for a file that only its manifest tells the inputs and outputs of."""
    if path.suffix.lower() == ".ort":
        raise UsageError(
            "a file in ORT format needs its manifest",
            where=str(path),
            remedy=f"Keep {MANIFEST_NAME} of the build beside it.",
        )


def close(opened: Executable) -> None:
    """Give back what a file that was opened on a device holds there."""
    if isinstance(opened, _Artifact | _FileOnDevice):
        opened.close()


def _on_device(path: Path, artifact: Artifact | None, device: str, threads: int) -> Executable:
    """The file on a device that has a runner; what a build describes, on any that runs it."""
    from edgewise.targets.validation.devices import resolve, runs

    place = resolve(device)
    target = _TARGETS.get(path.suffix.lower(), "apple")
    if not runs(place, target) or (artifact is None and target == "apple"):
        raise DeviceError(
            "the file does not run there",
            where=f"{path} on '{device}'",
            remedy="Cores, boards and phones run .tflite, .onnx and .ort files; a Mac runs the "
            "packages of a build.",
        )
    if artifact is not None:
        return _Artifact(artifact, threads, device)
    _check_tells_its_ends(path)
    local = _TfliteFile(path, threads) if target == "android" else _OnnxFile(path, threads)
    return _FileOnDevice(path, local.inputs, local.outputs, device, threads)


def fit(feeds: Mapping[str, Array], inputs: Sequence[TensorInfo]) -> dict[str, Array]:
    """The arrays as the inputs want them. Raises DataError."""
    wanted = {info.name: info for info in inputs}
    listed = ", ".join(f"'{name}'" for name in wanted)
    unknown = sorted(set(feeds) - set(wanted))
    if unknown:
        raise DataError(f"there is no input '{unknown[0]}'", why=f"the inputs are {listed}")
    missing = [
        name for name, info in wanted.items()
        if name not in feeds and not getattr(info, "optional", False)
    ]  # fmt: skip
    if missing:
        raise DataError(
            f"there is no array for input '{missing[0]}'", why=f"the inputs are {listed}"
        )
    return {name: _fit_one(array, wanted[name]) for name, array in feeds.items()}


def _fit_one(array: Array, info: TensorInfo) -> Array:
    array = np.asarray(array)
    if getattr(info, "color_space", None) is not None:
        return array  # the interpreter knows the forms that a picture may have
    shape_fits = len(array.shape) == len(info.shape) and all(
        isinstance(size, str) or size == given
        for given, size in zip(array.shape, info.shape, strict=True)
    )
    sizes, dtype = getattr(info, "sizes", None), info.dtype
    shape_fits = shape_fits and (sizes is None or sizes.allows(array.shape))
    whole = array.dtype.kind in _NUMBERS and dtype.kind in _NUMBERS
    if not shape_fits or not (whole or array.dtype.kind == dtype.kind):
        raise DataError(
            f"{array.dtype} {list(array.shape)} does not fit",
            where=f"input '{info.name}'",
            why=f"it takes {dtype} {_shape(info) if sizes is None else sizes}",
        )
    if whole and array.size:
        bounds = np.iinfo(dtype)
        if int(array.min()) < bounds.min or int(array.max()) > bounds.max:
            raise DataError(
                "the array holds numbers that do not fit",
                where=f"input '{info.name}'",
                why=f"{dtype} is {bounds.min} to {bounds.max}",
            )
    with np.errstate(over="ignore"):
        return array.astype(dtype)


def _shape(info: TensorInfo) -> str:
    return f"[{', '.join(map(str, info.shape))}]"


def _artifact_inside(path: Path) -> Path:
    """The artifact that a folder with a manifest describes, else the path."""
    return load_artifact(path).path if (path / MANIFEST_NAME).is_file() else path


def _described_by_manifest(path: Path) -> bool:
    """Whether the `manifest.json` beside a file is Edgewise's, about this file."""
    try:
        files = json.loads((path.parent / MANIFEST_NAME).read_bytes())["files"]
        return path.name in {PurePosixPath(name).parts[0] for name in files}
    except (OSError, ValueError, KeyError, TypeError):
        return False


class _Artifact:
    """A file of a build, through the session of its target."""

    def __init__(self, artifact: Artifact, threads: int, device: str) -> None:
        from edgewise.targets import get

        manifest = artifact.manifest
        self._session: Session = get(manifest.target).open(artifact, device, threads=threads)
        self.inputs, self.outputs = (
            [Tensor(s.name, tuple(s.hub_shape), np.dtype(s.hub_dtype)) for s in signatures]
            for signatures in (manifest.inputs, manifest.outputs)
        )

    def run(self, feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        return self._session.run(dict(feeds))

    def close(self) -> None:
        self._session.close()


class _FileOnDevice:
    """Any ONNX or TensorFlow Lite model, in the same runtime on a device."""

    def __init__(
        self,
        path: Path,
        inputs: Sequence[Tensor],
        outputs: Sequence[Tensor],
        device: str,
        threads: int,
    ) -> None:
        from edgewise.targets.validation.devices import acquire, release

        self.inputs, self.outputs = inputs, outputs
        runtime = "litert" if path.suffix.lower() == ".tflite" else "onnxruntime"
        self._link = acquire(device)
        try:
            self._model = self._link.open(
                path, runtime, threads=threads, outputs=[tensor.name for tensor in outputs]
            )
        except BaseException:
            release(self._link)
            raise

    def run(self, feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        (outputs,) = self._model.run([feeds])
        return outputs

    def close(self) -> None:
        from edgewise.targets.validation.devices import release

        try:
            self._model.close()
        finally:
            release(self._link)


class _OnnxFile:
    """Any ONNX model, in ONNX Runtime as it is written."""

    def __init__(self, path: Path, threads: int) -> None:
        from edgewise.graph import OrtSession, load

        graph = load(path).graph
        self.inputs = [_of_value(v) for v in graph.inputs if v.name not in graph.initializers]
        self.outputs = [_of_value(value) for value in graph.outputs]
        self._session = OrtSession(path, threads=threads)

    def run(self, feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        return self._session.run(feeds)


def _of_value(value: Any) -> Tensor:
    sizes = () if value.shape is None else value.shape
    shape = tuple(size if isinstance(size, int) else str(size) for size in sizes)
    dtype = np.dtype(np.float32) if value.dtype is None else np.dtype(value.dtype.numpy())
    return Tensor(str(value.name), shape, dtype)


class _TfliteFile:
    """Any TensorFlow Lite model, in LiteRT."""

    def __init__(self, path: Path, threads: int) -> None:
        from edgewise.targets.android.runtime import LoadFailure, load

        try:
            self._interpreter = load(path, threads)
        except LoadFailure as failure:
            raise DeviceError(
                "LiteRT refuses the file", where=str(path), why=str(failure)
            ) from failure
        self._in = self._interpreter.get_input_details()
        self._out = self._interpreter.get_output_details()
        self.inputs = [_of_detail(detail) for detail in self._in]
        self.outputs = [_of_detail(detail) for detail in self._out]

    def run(self, feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        for detail in self._in:
            self._interpreter.set_tensor(detail["index"], feeds[detail["name"]])
        try:
            self._interpreter.invoke()
        except (RuntimeError, ValueError) as error:
            raise DeviceError("LiteRT cannot run the file", why=str(error)) from error
        return {d["name"]: self._interpreter.get_tensor(d["index"]) for d in self._out}


def _of_detail(detail: Mapping[str, Any]) -> Tensor:
    shape = tuple(int(size) for size in detail["shape"])
    return Tensor(str(detail["name"]), shape, np.dtype(detail["dtype"]))
