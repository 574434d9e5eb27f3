"""An artifact in the runner's hands: of this process, or on a device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import onnx
import onnx_ir as ir

from edgewise.errors import DeviceError, ModelError
from edgewise.targets.base import LOCAL, Array, Artifact
from edgewise.targets.validation.devices import connected
from edgewise.targets.validation.devices.runner import Failure, NodeTimes, OrtModel, told_as


class OpenedFile(Protocol):
    """What a runner tells of a file that ONNX Runtime has loaded."""

    def load(self, sample: Mapping[str, Array]) -> None:
        """Bring the sample there that `profile` runs."""

    def graph(self) -> bytes:
        """The graph that it executes, as ONNX without large constants."""

    def profile(self, runs: int) -> NodeTimes:
        """Microseconds of each of its nodes in each of so many runs."""


@contextmanager
def opened_file(artifact: Artifact, device: str = LOCAL, *, threads: int = 1) -> Iterator[Any]:
    """An `OpenedFile`. Raises, as its methods do, DeviceError where the device fails, and
    ModelError where ONNX Runtime refuses the file or fails at running it."""
    outputs = [tensor.file_name for tensor in artifact.manifest.outputs]
    options = artifact.manifest.options.get("session", {})
    if device == LOCAL:
        yield _Here(artifact, threads, outputs, options)
        return
    with connected(device) as link:
        file = link.open(
            artifact.path, "onnxruntime", threads=threads, outputs=outputs, options=options
        )
        try:
            yield file
        finally:
            file.close()


def executed_graph(file: OpenedFile, where: str) -> ir.Model:
    """The graph that ONNX Runtime executes there. Raises as `opened_file` does."""
    content = file.graph()
    try:
        return ir.from_proto(onnx.load_model_from_string(content))
    except Exception as error:  # protobuf's and onnx-ir's errors have no common base
        raise DeviceError(
            "what ONNX Runtime wrote is no graph", where=where, why=str(error)
        ) from error


class _Here:
    """Implements `OpenedFile` in this process."""

    def __init__(
        self, artifact: Artifact, threads: int, outputs: list[str], options: Mapping[str, Any]
    ) -> None:
        self._where = str(artifact.path)
        with self._told():
            self._model = OrtModel(self._where, threads, outputs, dict(options))

    def load(self, sample: Mapping[str, Array]) -> None:
        with self._told():
            self._model.load(dict(sample))

    def graph(self) -> bytes:
        with self._told():
            return self._model.graph()

    def profile(self, runs: int) -> NodeTimes:
        with self._told():
            return self._model.profile(runs)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            with told_as("run"):
                yield
        except Failure as failure:
            raise ModelError(
                "ONNX Runtime fails at the artifact", where=self._where, why=str(failure)
            ) from failure
