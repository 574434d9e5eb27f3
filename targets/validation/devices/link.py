"""A runner on a device: requests, with what goes wrong told as DeviceError."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgewise.errors import DeviceError, ModelError
from edgewise.targets.base import Array
from edgewise.targets.validation.devices.bundle.installation import runner_source
from edgewise.targets.validation.devices.device import Device
from edgewise.targets.validation.devices.line import Line, LineBroken, LineTimeout
from edgewise.targets.validation.devices.runner import PROTOCOL, packed, unpacked

_GREETING_SECONDS = 120.0
_REQUEST_SECONDS = 900.0


class RunnerLink:
    """A device with its runner started; shared by the sessions that are open there."""

    def __init__(self, device: Device) -> None:
        """Raises DeviceError where the device cannot be used."""
        self.device = device
        self._line = Line(device.start(), runner_source())
        self._numbers = itertools.count()
        try:
            self.hello, _ = self.request("hello", timeout=_GREETING_SECONDS)
            if self.hello["protocol"] != PROTOCOL:
                raise DeviceError(
                    "the bundle is of another version",
                    where=device.address,
                    remedy="Run `edgewise emulator install` again.",
                )
        except BaseException:
            self.close()
            raise

    @property
    def description(self) -> str:
        """The device in one short text."""
        return self.device.describe(self.hello)

    def request(
        self, do: str, payload: bytes = b"", *, timeout: float = _REQUEST_SECONDS, **fields: Any
    ) -> tuple[dict[str, Any], bytes]:
        """Raises DeviceError where the runner fails at it, the line breaks or no answer comes."""
        try:
            answer, attached = self._line.request(do, payload, timeout=timeout, **fields)
        except LineTimeout as error:
            raise DeviceError(
                f"no answer to '{do}' in {timeout:g} s",
                where=self.device.address,
                why="the device is too slow, or hangs",
            ) from error
        except LineBroken as error:
            raise self.device.explain(error.code, error.said) from error
        if "error" in answer:
            raise DeviceError(f"'{do}' failed", where=self.device.address, why=answer["error"])
        return answer, attached

    def open(
        self,
        file: Path,
        runtime: str,
        *,
        threads: int,
        outputs: Sequence[str],
        options: Mapping[str, Any] | None = None,
    ) -> RemoteModel:
        """Bring a file there where it is missing, and load it. `runtime` is `onnxruntime` or
        `litert`. Raises DeviceError, or ModelError where the file cannot be read."""
        try:
            content = file.read_bytes()
        except OSError as error:
            raise ModelError(
                "cannot read the artifact", where=str(file), why=error.strerror or str(error)
            ) from error
        digest = hashlib.sha256(content).hexdigest()
        if not self.request("has", digest=digest)[0]["here"]:
            self.request("put", content, digest=digest)
        identity = str(next(self._numbers))
        answer, _ = self.request(
            "open",
            id=identity,
            digest=digest,
            runtime=runtime,
            threads=threads,
            outputs=list(outputs),
            options=dict(options or {}),
        )
        return RemoteModel(self, identity, float(answer["load_seconds"]))

    def interrupt(self) -> None:
        """End the runner from another thread: whoever waits for it gets DeviceError."""
        self._line.interrupt()

    def close(self) -> None:
        """End the runner, which deletes what it wrote, and the way to it."""
        try:
            self._line.close()
        finally:
            self.device.close()


class RemoteModel:
    """A file that a runner has loaded. Arrays are in the form and by the names of the file."""

    def __init__(self, link: RunnerLink, identity: str, load_seconds: float) -> None:
        self.link, self.load_seconds = link, load_seconds
        self._id = identity

    def run(self, samples: Sequence[Mapping[str, Array]]) -> list[dict[str, Array]]:
        """The outputs of each sample. Raises DeviceError."""
        tensors, data = packed([dict(sample) for sample in samples])
        answer, attached = self.link.request("run", data, id=self._id, tensors=tensors)
        return unpacked(answer["tensors"], attached)

    def load(self, sample: Mapping[str, Array]) -> None:
        """Bring the sample there that `time` runs. Raises DeviceError."""
        tensors, data = packed([dict(sample)])
        self.link.request("load", data, id=self._id, tensors=tensors)

    def time(self, runs: int) -> list[int]:
        """Nanoseconds of each of so many runs, by the device's clock. Raises DeviceError."""
        answer, _ = self.link.request("time", id=self._id, runs=runs)
        return [int(item) for item in answer["nanoseconds"]]

    def count(self, warmup: int, runs: int) -> None:
        """Run between marks for the instruction counter, after warm-up runs and as many regions
        of nothing. Raises DeviceError."""
        self.link.request("count", id=self._id, warmup=warmup, runs=runs)

    def close(self) -> None:
        self.link.request("close", id=self._id)
