"""An emitted package opened from disk: in Core ML on a Mac, in Edgewise's interpreter elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np

from edgewise.errors import DeviceError, EdgewiseError, ModelError, UsageError
from edgewise.targets.base import Array, Feeds, Manifest, TensorSignature, from_file, to_file

#: why no latency is reported away from Apple's hardware
INTERPRETED = (
    "Core ML runs on Apple hardware only; this machine executed the package with Edgewise's"
    " interpreter"
)


class Runner(Protocol):
    """Executes a package: arrays by file name in, arrays by file name out."""

    def run(self, feeds: Mapping[str, Array]) -> Mapping[str, Array]: ...


class CoreMLRunner:
    """Core ML itself, through coremltools; on macOS only."""

    def __init__(self, path: Path) -> None:
        from edgewise.targets.apple._coremltools import ct, quiet

        with quiet():
            self._model = ct.models.MLModel(str(path), compute_units=ct.ComputeUnit.ALL)

    def run(self, feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        results = self._model.predict(dict(feeds))
        return {name: np.asarray(value) for name, value in results.items()}


class AppleSession:
    """Implements `edgewise.targets.base.Session`."""

    def __init__(self, runner: Runner, manifest: Manifest, *, device: str, threads: int) -> None:
        self.device = device
        self.threads = threads
        self.latency_reason = None if isinstance(runner, CoreMLRunner) else INTERPRETED
        self._runner: Runner | None = runner
        self._inputs = {signature.name: signature for signature in manifest.inputs}
        self._outputs = manifest.outputs
        self._prepared: dict[str, Array] | None = None

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """Raises UsageError for wrong input names and ModelError where a shape does not fit."""
        results = self._execute(self._convert(feeds))
        return {out.name: _to_hub(results[out.file_name], out) for out in self._outputs}

    def prepare(self, feeds: Feeds) -> None:
        self._prepared = self._convert(feeds)

    def invoke(self) -> None:
        if self._prepared is None:
            raise UsageError("invoke needs inputs", remedy="Call prepare(feeds) first.")
        self._execute(self._prepared)

    def close(self) -> None:
        self._prepared = None
        self._runner = None

    def _execute(self, feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        if self._runner is None:
            raise DeviceError("the session is closed", remedy="Open the artifact again.")
        try:
            return self._runner.run(feeds)
        except EdgewiseError:
            raise
        except Exception as error:  # Core ML and coremltools raise bare RuntimeErrors and others
            raise DeviceError(
                "cannot run the package", where=self.device, why=str(error).strip().split("\n")[0]
            ) from error

    def _convert(self, feeds: Feeds) -> dict[str, Array]:
        if set(feeds) != set(self._inputs):
            raise UsageError(
                f"wrong inputs: {', '.join(sorted(feeds)) or 'none'}",
                why=f"the model's inputs are {', '.join(sorted(self._inputs))}",
            )
        return {
            signature.file_name: _to_file(feeds[name], signature)
            for name, signature in self._inputs.items()
        }


def open_session(path: Path, manifest: Manifest, device: str, threads: int) -> AppleSession:
    """Open the package on `local` or `mac`. Raises DeviceError for any other device."""
    on_mac = sys.platform == "darwin"
    if device not in ("local", "mac"):
        raise DeviceError(f"unknown device '{device}'", remedy="Known devices: local, mac.")
    if device == "mac" and not on_mac:
        raise DeviceError(
            "no Mac here",
            where="device 'mac'",
            why="Core ML runs on Apple hardware only",
            remedy="Use device 'local', which interprets the package.",
        )
    runner: Runner
    if on_mac:
        runner, described = CoreMLRunner(path), f"{device} (Core ML)"
    else:
        from edgewise.targets.apple.interpreter import Interpreter

        runner, described = Interpreter(path, threads=threads), f"{device} (interpreter)"
    return AppleSession(runner, manifest, device=described, threads=threads)


def _to_file(array: Array, signature: TensorSignature) -> Array:
    value = np.asarray(array)
    if value.shape != signature.shape:
        raise ModelError(
            f"shape {value.shape} does not fit",
            where=f"input '{signature.name}'",
            why=f"the package was made for {signature.shape}",
        )
    if value.dtype != np.dtype(signature.hub_dtype):
        raise ModelError(
            f"element type {value.dtype} does not fit",
            where=f"input '{signature.name}'",
            why=f"the model's is {signature.hub_dtype}",
        )
    return to_file(value, signature)


def _to_hub(array: Array, signature: TensorSignature) -> Array:
    """Scalars of the model are vectors of one element in the file."""
    scalar = not signature.hub_shape
    return from_file(np.asarray(array).reshape(()) if scalar else np.asarray(array), signature)
