"""A runner on a device: requests, with what goes wrong told as DeviceError.

1. A line that breaks while a file is brought, opened or run, is mended once: a new runner is
   started, what was open is opened again, and the request is repeated. A finding says so. What was
   being timed or counted is not repeated: its figures would hide that.
2. No answer in time is no broken line: whoever hangs once would hang again.
3. A runner that nobody asked for long ends by itself (`runner.SILENCE`); the next request starts
   another before that could be in its way.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from edgewise.errors import DeviceError, EdgewiseError, ModelError
from edgewise.findings import Finding
from edgewise.targets.base import Array
from edgewise.targets.validation.devices.bundle.installation import runner_source
from edgewise.targets.validation.devices.device import Device, LineLost
from edgewise.targets.validation.devices.line import Line, LineBroken, LineTimeout
from edgewise.targets.validation.devices.patience import Patience
from edgewise.targets.validation.devices.runner import (
    PROTOCOL,
    SILENCE,
    NodeTimes,
    packed,
    unpacked,
)

Answer = tuple[dict[str, Any], bytearray]
T = TypeVar("T")
_PIECE = 4 << 20  # bytes of a file that go at once
_MOST_BREAKS = 1  # of a line that are mended
_IDLE_SECONDS = 0.8 * SILENCE
_SHUT_DOWN_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class _Brought:
    """A file that the runner has; `identity` is what tells it from a later file of that path."""

    name: str
    identity: tuple[int, ...]


class RunnerLink:
    """A device with its runner started; shared by the sessions that are open there, whose threads
    take turns."""

    def __init__(self, device: Device) -> None:
        """Raises DeviceError where the device cannot be used."""
        self.device = device
        self.patience = Patience.of(emulated=device.latency_reason is not None)
        #: what happened to the line so far
        self.findings: tuple[Finding, ...] = ()
        self._turn = threading.RLock()
        self._numbers = itertools.count()
        self._models: dict[str, RemoteModel] = {}
        self._brought: dict[Path, _Brought] = {}
        self._breaks = self._starts = 0
        self._is_given_up = False
        self._asked = time.monotonic()
        self._line, self.hello = self._started()
        # a board may turn out to be an emulator once it was reached
        self.patience = Patience.of(emulated=device.latency_reason is not None)
        #: what the device had to do before anything was run there
        self.load_before: float | None = self.hello.get("load")

    @property
    def description(self) -> str:
        """The device in one short text."""
        return self.device.describe(self.hello)

    def request(
        self, do: str, payload: bytes = b"", *, timeout: float | None = None, **fields: Any
    ) -> Answer:
        """Raises DeviceError where the runner fails at it, the line breaks or no answer comes."""
        with self._turn:
            answer, attached = self._ask(self._line, do, payload, timeout, fields)
        if "error" in answer:
            raise self._failed(do, answer)
        return answer, attached

    def status(self) -> dict[str, Any]:
        """Temperature, governor, load, ... now. Raises DeviceError."""
        return self.mended("status", lambda: self.request("status")[0])

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
        `litert`.

        Raises:
            DeviceError: the device fails, or LiteRT refuses the file.
            ModelError: the file cannot be read, or ONNX Runtime refuses it.
        """
        fields = {
            "runtime": runtime,
            "threads": threads,
            "outputs": list(outputs),
            "options": dict(options or {}),
        }
        model = RemoteModel(self, str(next(self._numbers)), file, fields)
        with self._turn:
            try:
                self.mended("open", model.open)
                self._models[model.identity] = model
            finally:
                self._drop_unused()
        return model

    def mended(self, do: str, act: Callable[[], T]) -> T:
        """What it gives; where the line breaks in it, it is done again on a new one (case 1)."""
        with self._turn:
            if time.monotonic() - self._asked > _IDLE_SECONDS:
                self._restart()
            start = self._starts
            try:
                return act()
            except LineLost as error:
                if self._starts == start:
                    self._mend(do, error)
                return act()

    def bring(self, file: Path) -> str:
        """The runner's name of a file, which is sent where it is not there already; it is read
        once. Raises DeviceError, or ModelError where it cannot be read.
        """
        try:
            with file.open("rb") as source:
                found = os.fstat(source.fileno())
                identity = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
                known = self._brought.get(file)
                if known is None or known.identity != identity:
                    name = str(next(self._numbers))
                    self._send(source, name)
                    known = self._brought[file] = _Brought(name, identity)
        except OSError as error:
            raise ModelError(
                "cannot read the artifact", where=str(file), why=error.strerror or str(error)
            ) from error
        return known.name

    def forget(self, model: RemoteModel) -> None:
        """A model was closed; a file that no other has open leaves the device."""
        with self._turn:
            self._models.pop(model.identity, None)
            if not self._line.is_over:
                with suppress(LineLost):  # then there is nothing left to forget
                    self.request("close", id=model.identity)
                    self._drop_unused()

    def interrupt(self) -> None:
        """End the runner from another thread: whoever waits for it gets DeviceError."""
        self._is_given_up = True
        self._line.interrupt()

    def close(self) -> None:
        """End the runner, and the way to it."""
        try:
            self._line.close(0.0 if self._is_given_up else _SHUT_DOWN_SECONDS)
        finally:
            self.device.close()

    def _ask(
        self, line: Line, do: str, payload: bytes, timeout: float | None, fields: dict[str, Any]
    ) -> Answer:
        seconds = timeout or self.patience.answer
        self._asked = time.monotonic()
        try:
            return line.request(do, payload, timeout=seconds, **fields)
        except LineTimeout as error:
            raise DeviceError(
                f"no answer to '{do}' in {seconds:g} s",
                where=self.device.address,
                why="the device is too slow, or hangs",
                remedy=self.patience.remedy,
            ) from error
        except LineBroken as error:
            told = self.device.explain(error.code, error.said)
            raise LineLost(told.what, where=told.where, why=told.why, remedy=told.remedy) from error
        finally:
            self._asked = time.monotonic()

    def _started(self) -> tuple[Line, dict[str, Any]]:
        line = Line(self.device.start(), runner_source())
        try:
            hello, _ = self._ask(line, "hello", b"", self.patience.greeting, {})
            if hello.get("protocol") != PROTOCOL:
                raise DeviceError("what answers is no runner", where=self.device.address)
        except BaseException:
            try:
                line.close(0.0)
            finally:
                self.device.close()
            raise
        self._starts += 1
        return line, hello

    def _mend(self, do: str, error: LineLost) -> None:
        """Raises the error where the line has broken too often."""
        self._breaks += 1
        if self._is_given_up or self._breaks > _MOST_BREAKS:
            raise error
        self._restart()
        told = f"the line to the device broke during '{do}' ({error.what}: {error.why})"
        self.findings += (
            Finding(
                "device/retried",
                "warning",
                f"{told}: the runner was started again, and the request repeated",
                remedy="Look at the device's cable or network, power and memory.",
            ),
        )

    def _restart(self) -> None:
        """A new runner, with all open that was."""
        self.close()
        self._brought.clear()
        self._line, self.hello = self._started()
        for model in self._models.values():
            model.open()

    def _send(self, source: Any, name: str) -> None:
        digest = hashlib.sha256()
        offset = 0
        while (piece := source.read(_PIECE)) or not offset:
            digest.update(piece)
            self.request("put", piece, file=name, offset=offset)
            offset += len(piece)
            if not piece:
                break
        self.request("keep", file=name, digest=digest.hexdigest())

    def _drop_unused(self) -> None:
        used = {model.brought for model in self._models.values()}
        for file, brought in list(self._brought.items()):
            if brought.name not in used and not self._line.is_over:
                del self._brought[file]
                self.request("drop", file=brought.name)

    def _failed(self, do: str, answer: Mapping[str, Any]) -> DeviceError:
        where, why = self.device.address, answer["error"]
        if answer.get("kind") == "space":
            remedy = "Free space there."
            return DeviceError(
                "there is no space left on the device", where=where, why=why, remedy=remedy
            )
        if answer.get("kind") == "memory":
            remedy = "Free memory there, or try a smaller model."
            return DeviceError("the device ran out of memory", where=where, why=why, remedy=remedy)
        if answer.get("kind") in ("model", "run"):
            return RuntimeRefusal(do, where, why)
        return DeviceError(f"'{do}' failed", where=where, why=why)


class RuntimeRefusal(DeviceError):
    """The runtime there refuses a file, or fails at running it; `RemoteModel` tells which."""

    def __init__(self, do: str, where: str, why: str) -> None:
        super().__init__(f"the runtime fails at '{do}'", where=where, why=why)


class RemoteModel:
    """A file that a runner has loaded. Arrays are in the form and by the names of the file."""

    def __init__(
        self, link: RunnerLink, identity: str, file: Path, fields: Mapping[str, Any]
    ) -> None:
        """Made by `RunnerLink.open`."""
        self.link, self.identity, self.file = link, identity, file
        self.load_seconds = 0.0
        #: the runner's name of the file
        self.brought = ""
        self._fields = fields
        self._loaded: Mapping[str, Array] | None = None
        self._is_open = True

    def open(self) -> None:
        """Load the file into the runner that there is now, and what was loaded into it before."""
        self.brought = self.link.bring(self.file)
        try:
            answer, _ = self.link.request(
                "open", id=self.identity, file=self.brought, **self._fields
            )
        except RuntimeRefusal as error:
            self._refuse("cannot load the artifact", "refuses the file", error)
        self.load_seconds = float(answer["load_seconds"])
        if self._loaded is not None:
            self._load(self._loaded)

    def run(self, samples: Sequence[Mapping[str, Array]]) -> list[dict[str, Array]]:
        """The outputs of each sample. Raises DeviceError."""
        tensors, data = packed([dict(sample) for sample in samples])
        patience = self.link.patience

        def act() -> Answer:
            timeout = patience.runs(self.identity, len(samples))
            return self.link.request(
                "run", data, timeout=timeout, id=self.identity, tensors=tensors
            )

        try:
            answer, attached = self.link.mended("run", act)
        except RuntimeRefusal as error:
            self._fail(error)
        patience.learn(self.identity, answer["seconds"] / max(1, len(samples)))
        return unpacked(answer["tensors"], attached)

    def load(self, sample: Mapping[str, Array]) -> None:
        """Bring the sample there that `time` runs. Raises DeviceError."""
        try:
            self.link.mended("load", lambda: self._load(sample))
        except RuntimeRefusal as error:
            self._fail(error)
        self._loaded = dict(sample)

    def time(self, runs: int) -> list[int]:
        """Nanoseconds of each of so many runs, by the device's clock. Raises DeviceError."""
        patience = self.link.patience
        timeout = patience.runs(self.identity, runs)
        try:
            answer, _ = self.link.request("time", timeout=timeout, id=self.identity, runs=runs)
        except RuntimeRefusal as error:
            self._fail(error)
        times = [int(item) for item in answer["nanoseconds"]]
        patience.learn(self.identity, max(times, default=0) / 1e9)
        return times

    def count(self, warmup: int, runs: int) -> None:
        """Run between marks for the instruction counter, after warm-up runs and as many regions
        of nothing. Raises DeviceError."""
        timeout = self.link.patience.runs(self.identity, warmup + 2 * runs)
        self.link.request("count", timeout=timeout, id=self.identity, warmup=warmup, runs=runs)

    def graph(self) -> bytes:
        """The graph that ONNX Runtime makes of the file there, as ONNX without its large constants.
        Raises DeviceError, or ModelError."""
        try:
            _, graph = self.link.mended(
                "graph", lambda: self.link.request("graph", id=self.identity)
            )
        except RuntimeRefusal as error:
            self._fail(error)
        return bytes(graph)

    def profile(self, runs: int) -> NodeTimes:
        """Microseconds of ONNX Runtime's nodes in each of so many runs, by the device's clock.
        Raises DeviceError, or ModelError."""
        timeout = self.link.patience.runs(self.identity, runs + 1)
        try:
            answer, _ = self.link.request("profile", timeout=timeout, id=self.identity, runs=runs)
        except RuntimeRefusal as error:
            self._fail(error)
        nodes: NodeTimes = answer["nodes"]
        return nodes

    def close(self) -> None:
        if self._is_open:
            self._is_open = False
            self.link.forget(self)

    def _load(self, sample: Mapping[str, Array]) -> None:
        tensors, data = packed([dict(sample)])
        self.link.request("load", data, id=self.identity, tensors=tensors)

    def _refuse(self, onnxruntime: str, litert: str, error: RuntimeRefusal) -> NoReturn:
        """As the session of this machine would."""
        where = f"{self.file} on {error.where}"
        told: EdgewiseError
        if self._fields["runtime"] == "onnxruntime":
            told = ModelError(f"ONNX Runtime {onnxruntime}", where=where, why=error.why)
        else:
            told = DeviceError(f"LiteRT {litert}", where=where, why=error.why)
        raise told from error

    def _fail(self, error: RuntimeRefusal) -> NoReturn:
        self._refuse("cannot run the artifact", "failed to run the model", error)
