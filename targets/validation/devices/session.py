"""An artifact opened on a device, in the names, layouts and dtypes of the hub model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgewise.errors import DataError, DeviceError
from edgewise.findings import Finding
from edgewise.targets.base import Array, Artifact, Feeds, from_file, to_file
from edgewise.targets.validation.devices.connections import acquire, release
from edgewise.targets.validation.devices.counter.count import count_runs
from edgewise.targets.validation.devices.counter.device import Region
from edgewise.targets.validation.devices.link import RemoteModel


class DeviceSession:
    """Implements `edgewise.targets.base.Session` and `RemoteSession`."""

    def __init__(
        self,
        artifact: Artifact,
        device: str,
        runtime: str,
        *,
        threads: int,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """Raises DeviceError where the device cannot be used, or its runtime refuses the file."""
        self._manifest = artifact.manifest
        self._address = device
        link = acquire(device)
        try:
            self._model = link.open(
                artifact.path,
                runtime,
                threads=threads,
                outputs=[tensor.file_name for tensor in artifact.manifest.outputs],
                options=options,
            )
        except BaseException:
            release(device)
            raise
        self.runtime = runtime
        self.device = link.description
        self.threads = threads
        self.latency_reason = link.device.latency_reason
        self.load_ms = self._model.load_seconds * 1e3
        self.findings: tuple[Finding, ...] = ()
        self._is_open = True

    def run(self, feeds: Feeds) -> dict[str, Array]:
        (outputs,) = self.run_many([feeds])
        return outputs

    def run_many(self, samples: Sequence[Feeds]) -> list[dict[str, Array]]:
        """The outputs of each example, with one way there and back. Raises as `run` does."""
        found = self._opened().run([self._to_file(feeds) for feeds in samples])
        return [self._from_file(outputs) for outputs in found]

    def prepare(self, feeds: Feeds) -> None:
        self._opened().load(self._to_file(feeds))

    def invoke(self) -> None:
        self.time_runs(1)

    def time_runs(self, runs: int) -> list[int]:
        """Nanoseconds of each of so many runs of the prepared inputs, by the device's clock."""
        return self._opened().time(runs)

    def count_runs(self, runs: int) -> list[Region]:
        """Instructions of each of so many runs of the prepared inputs, where they are counted."""
        return count_runs(self._opened(), runs)

    def close(self) -> None:
        if self._is_open:
            self._is_open = False
            try:
                self._model.close()
            finally:
                release(self._address)

    def _opened(self) -> RemoteModel:
        if not self._is_open:
            raise DeviceError("the session is closed", remedy="Open the artifact again.")
        return self._model

    def _to_file(self, feeds: Feeds) -> dict[str, Array]:
        expected = {tensor.name: tensor for tensor in self._manifest.inputs}
        if set(feeds) != set(expected):
            raise DataError(
                "the inputs do not fit the model",
                why=f"given {sorted(feeds)}, wanted {sorted(expected)}",
            )
        return {tensor.file_name: to_file(feeds[name], tensor) for name, tensor in expected.items()}

    def _from_file(self, outputs: Mapping[str, Array]) -> dict[str, Array]:
        return {
            tensor.name: from_file(outputs[tensor.file_name], tensor)
            for tensor in self._manifest.outputs
        }
