"""An emitted package opened from disk: in Core ML on a Mac, in Edgewise's interpreter elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from edgewise.errors import DeviceError, EdgewiseError, ModelError, UsageError
from edgewise.targets.apple.flexible.sizes import read_shapes
from edgewise.targets.apple.kept import KeptInputs
from edgewise.targets.base import Array, Feeds, Manifest, TensorSignature, from_file, to_file

#: why no latency is reported away from Apple's hardware
INTERPRETED = (
    "Core ML runs on Apple hardware only; this machine executed the package with Edgewise's"
    " interpreter"
)


class Memory(Protocol):
    """The states of a package between runs; zeros at first."""

    def read(self, name: str) -> Array: ...

    def write(self, name: str, array: Array) -> None: ...


class Runner(Protocol):
    """Executes a package: values by file name in, values by file name out. A picture is an array of
    planes in the order red, green, blue; a classifier gives a label and a dictionary."""

    def run(self, feeds: Mapping[str, Array], *, state: Any = None) -> Mapping[str, Any]: ...

    def make_state(self) -> Memory: ...


class AppleSession:
    """Implements `edgewise.targets.base.Session`."""

    def __init__(
        self,
        runner: Runner,
        manifest: Manifest,
        *,
        device: str,
        threads: int,
        latency_reason: str | None,
    ) -> None:
        self.device = device
        self.threads = threads
        self.latency_reason = latency_reason
        self._runner: Runner | None = runner
        self._labels = manifest.labels
        self._shapes = read_shapes(manifest.options.get("shapes", {}))
        self._states = KeptInputs.of(manifest)
        self._memory = runner.make_state() if self._states.names else None
        kept = self._states.names
        self._inputs = {s.name: s for s in manifest.inputs if s.name not in kept}
        self._outputs = tuple(s for s in manifest.outputs if s.name not in kept.values())
        self._prepared: dict[str, Array] | None = None

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """Run once.

        The inputs that a package keeps as states are all given or all left out. Given, they are
        written before the run, and what they have become is among the outputs. Left out, the run
        goes on from the last one (from zeros at first, and after `reset`).

        Raises:
            UsageError: wrong input names.
            ModelError: a shape or type does not fit.
        """
        given, kept = self._states.split(feeds)
        converted = self._convert(given)
        self._write(kept)
        results = self._execute(converted)
        outputs = {out.name: self._from_file(results, out) for out in self._outputs}
        return {**outputs, **self._read()} if kept else outputs

    def reset(self) -> None:
        """Forget what earlier runs have left in the states."""
        if self._memory is not None and self._runner is not None:
            self._memory = self._runner.make_state()

    def prepare(self, feeds: Feeds) -> None:
        given, kept = self._states.split(feeds)
        self._prepared = self._convert(given)
        self._write(kept)

    def invoke(self) -> None:
        if self._prepared is None:
            raise UsageError("invoke needs inputs", remedy="Call prepare(feeds) first.")
        self._execute(self._prepared)

    def close(self) -> None:
        self._prepared = None
        self._runner = self._memory = None

    def _write(self, kept: Mapping[str, Array]) -> None:
        if self._memory is None:
            return
        for name, array in kept.items():
            signature = self._states.inputs[name]
            self._memory.write(signature.file_name, _to_file(array, signature))

    def _read(self) -> dict[str, Array]:
        if self._memory is None:
            return {}
        return {
            out.name: _to_hub(self._memory.read(out.file_name), out) for out in self._states.outputs
        }

    def _from_file(self, results: Mapping[str, Any], output: TensorSignature) -> Array:
        value = results[output.file_name]
        if isinstance(value, Mapping):  # a classifier's
            value = np.array([value[label] for label in self._labels]).reshape(output.shape)
        return _to_hub(value, output)

    def _execute(self, feeds: Mapping[str, Array]) -> Mapping[str, Any]:
        if self._runner is None:
            raise DeviceError("the session is closed", remedy="Open the artifact again.")
        try:
            return self._runner.run(feeds, state=self._memory)
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
        for name, shape in self._shapes.items():
            if not shape.allows(np.shape(feeds[name])):
                raise ModelError(
                    f"shape {np.shape(feeds[name])} does not fit",
                    where=f"input '{name}'",
                    why=f"the package was made for {shape}",
                )
        return {
            signature.file_name: _to_file(feeds[name], signature)
            for name, signature in self._inputs.items()
        }


def open_session(
    path: Path, manifest: Manifest, device: str, threads: int, function: str | None = None
) -> AppleSession:
    """Open a function of the package, the only one without its name, on `local` (Core ML on a Mac,
    the interpreter elsewhere), on `mac`, or on `mac:HOST`, which ssh reaches.

    Raises:
        DeviceError: another device, `mac` where there is none, or a Mac that cannot be reached.
        ModelError: the package cannot be read.
    """
    from edgewise.targets.apple.mac import MacAddress, open_on_mac, refuse_no_mac
    from edgewise.targets.validation.devices import resolve

    device = resolve(device).address.text
    on_mac = sys.platform == "darwin"
    address = MacAddress.of("mac" if on_mac and device == "local" else device)
    if address is None and device != "local":
        raise DeviceError(
            f"unknown device '{device}'",
            remedy="Known devices: local, mac, and mac:user@host.",
        )
    if address is not None:
        refuse_no_mac(address)
        return open_on_mac(path, manifest, address, function)
    from edgewise.targets.apple.interpreter import Interpreter

    runner = Interpreter(path, threads=threads, function=function)
    return AppleSession(
        runner, manifest, device="local (interpreter)", threads=threads, latency_reason=INTERPRETED
    )


def _to_file(array: Array, signature: TensorSignature) -> Array:
    value = np.asarray(array)
    if not _fits(value.shape, signature.hub_shape):
        raise ModelError(
            f"shape {value.shape} does not fit",
            where=f"input '{signature.name}'",
            why=f"the package was made for {signature.hub_shape}",
        )
    if value.dtype != np.dtype(signature.hub_dtype):
        raise ModelError(
            f"element type {value.dtype} does not fit",
            where=f"input '{signature.name}'",
            why=f"the model's is {signature.hub_dtype}",
        )
    converted = to_file(value, signature)
    return _regrouped(converted, signature.shape) if _regroups(signature) else converted


def _fits(shape: tuple[int, ...], declared: tuple[int | str, ...]) -> bool:
    """Sizes that are names are free."""
    return len(shape) == len(declared) and all(
        isinstance(wanted, str) or size == wanted
        for size, wanted in zip(shape, declared, strict=True)
    )


def _to_hub(array: Array, signature: TensorSignature) -> Array:
    value = np.asarray(array)
    if _regroups(signature):
        value = _regrouped(value, signature.hub_shape)
    return from_file(value, signature)


def _regrouped(array: Array, shape: tuple[int | str, ...]) -> Array:
    """Only static shapes are regrouped."""
    return array.reshape([int(size) for size in shape])


def _regroups(signature: TensorSignature) -> bool:
    """Core ML has no scalars and at most five axes: the file has the same elements in one axis, or
    with the last axes merged."""
    return len(signature.hub_shape) != len(signature.shape)
