"""An artifact opened on a device, in the names, layouts and dtypes of the hub model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgewise.errors import DeviceError, UsageError
from edgewise.findings import Finding
from edgewise.targets.base import Array, Artifact, Feeds
from edgewise.targets.file_form import FileForm
from edgewise.targets.validation.devices.connections import acquire, release
from edgewise.targets.validation.devices.counter.count import count_runs
from edgewise.targets.validation.devices.counter.device import Region
from edgewise.targets.validation.devices.facts import device_facts
from edgewise.targets.validation.devices.health import health_findings
from edgewise.targets.validation.devices.link import RemoteModel
from edgewise.targets.validation.results import DeviceFacts

#: of the manifest's options, what the runtime's session is made with
_SESSION_OPTIONS = "session"


class DeviceSession:
    """Implements `edgewise.targets.base.Session`, `BatchSession` and `RemoteSession`."""

    def __init__(
        self,
        artifact: Artifact,
        device: str,
        runtime: str,
        *,
        threads: int,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """Open the file there. `options` of the session are those of the manifest without.

        Raises:
            DeviceError: the device cannot be used, or LiteRT refuses the file.
            ModelError: ONNX Runtime refuses the file.
        """
        self._form = FileForm(artifact.manifest)
        self._runtime = runtime
        self._link = acquire(device)
        try:
            self._before = self._after = self._link.status()
            self._model = self._link.open(
                artifact.path,
                runtime,
                threads=threads,
                outputs=[tensor.file_name for tensor in artifact.manifest.outputs],
                options=artifact.manifest.options.get(_SESSION_OPTIONS, {})
                if options is None
                else options,
            )
        except BaseException:
            release(self._link)
            raise
        self.device = self._link.description
        self.threads = threads
        self.latency_reason = self._link.device.latency_reason
        self.load_ms = self._model.load_seconds * 1e3
        self._health: tuple[Finding, ...] = ()
        self._is_open, self._is_prepared = True, False

    @property
    def is_emulated(self) -> bool:
        """Whether what the device says of its state is this machine's."""
        return self.latency_reason is not None

    @property
    def facts(self) -> DeviceFacts:
        """What the device says of itself, when the session was opened and after the timed runs."""
        return device_facts(
            self.device,
            self._runtime,
            self._link.hello,
            self._before,
            self._after,
            emulated=self.is_emulated,
            about=self._link.device.about(),
        )

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What happened on the way there, and to times that were taken through this session."""
        return (*self._link.findings, *self._health)

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """Raises as `run_many` does."""
        (outputs,) = self.run_many([feeds])
        return outputs

    def run_many(self, samples: Sequence[Feeds]) -> list[dict[str, Array]]:
        """The outputs of each example, with one way there and back.

        Raises:
            DataError: a shape does not fit.
            DeviceError: the device fails.
            ModelError: ONNX Runtime fails at running the file.
            UsageError: the inputs are not the model's.
        """
        model = self._opened()
        given = [self._form.to_file(feeds) for feeds in samples]
        found = model.run([feeds.arrays for feeds in given])
        return [
            self._form.from_file(outputs, feeds.filling)
            for outputs, feeds in zip(found, given, strict=True)
        ]

    def prepare(self, feeds: Feeds) -> None:
        self._opened().load(self._form.to_file(feeds).arrays)
        self._is_prepared = True

    def invoke(self) -> None:
        self.time_runs(1)

    def time_runs(self, runs: int) -> list[int]:
        """Nanoseconds of each of so many runs of the prepared inputs, by the device's clock."""
        model = self._opened()
        if not self._is_prepared:
            raise UsageError("invoke needs inputs", remedy="Call prepare(feeds) first.")
        return model.time(runs)

    def count_runs(self, runs: int) -> list[Region]:
        """Instructions of each of so many runs of the prepared inputs, where they are counted."""
        return count_runs(self._opened(), runs)

    def judge(self, blocks: Sequence[Sequence[float]]) -> None:
        """Look at the device after runs that took so many milliseconds, block by block."""
        self._after = self._link.status()
        if not self.is_emulated:
            self._health = health_findings(
                {**self._before, "load": self._link.load_before},
                self._after,
                blocks,
                cores=self._link.hello["cores"],
                threads=self.threads,
            )

    def close(self) -> None:
        if self._is_open:
            self._is_open = False
            try:
                self._model.close()
            finally:
                release(self._link)

    def _opened(self) -> RemoteModel:
        if not self._is_open:
            raise DeviceError("the session is closed", remedy="Open the artifact again.")
        return self._model
