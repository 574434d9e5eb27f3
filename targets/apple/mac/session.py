"""An artifact opened in Core ML, on this Mac or on another."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from edgewise.findings import Finding
from edgewise.targets.apple.mac.link import MacAddress, MacLink
from edgewise.targets.apple.mac.placement import placement_findings, placements
from edgewise.targets.apple.neural_engine import Forecast
from edgewise.targets.apple.session import AppleSession
from edgewise.targets.base import Array, Feeds, Manifest

ALL_UNITS = "ALL"
#: each is timed by itself, beside all together
_UNITS = ("CPU_ONLY", "CPU_AND_GPU", "CPU_AND_NE")
_UNIT_RUNS, _UNIT_WARMUP = 30, 5
NO_MAC = "what answered is no Mac, so that its times are not Core ML's"


class MacMemory:
    """The states of the package there, between runs."""

    def __init__(self, link: MacLink) -> None:
        self._link = link
        link.request("reset", units=ALL_UNITS)

    def read(self, name: str) -> Array:
        _, payload = self._link.request("read", units=ALL_UNITS, names=[name])
        return _arrays(payload)[name]

    def write(self, name: str, array: Array) -> None:
        self._link.request("write", _stored({name: array}), units=ALL_UNITS)


class MacRunner:
    """A function of a package loaded by an agent: values by file name in, values by file name out.

    The agent keeps the states itself, so that `run` has no use for its `state`.
    """

    def __init__(self, link: MacLink, package: Path, function: str | None) -> None:
        self._link = link
        self._function = function
        self._last: bytes | None = None
        link.request("open", _packed(package), units=ALL_UNITS, function=function)

    def make_state(self) -> MacMemory:
        return MacMemory(self._link)

    def run(self, feeds: Mapping[str, Array], *, state: Any = None) -> Mapping[str, Any]:
        self._last = _stored(feeds)
        answer, results = self._link.request("run", self._last, units=ALL_UNITS)
        return {**_arrays(results), **answer["told"]}

    def time_runs(self, runs: int) -> list[int]:
        """Nanoseconds of each of so many runs of the last inputs, taken there."""
        return self._times(ALL_UNITS, runs)

    def unit_times(self) -> dict[str, list[int]]:
        """Nanoseconds of runs of the last inputs by set of compute units; none without inputs."""
        found: dict[str, list[int]] = {}
        if self._last is None:
            return found
        for units in _UNITS:
            self._link.request("open", units=units, function=self._function)
            self._link.request("run", self._last, units=units)
            found[units] = self._times(units, _UNIT_WARMUP + _UNIT_RUNS)[_UNIT_WARMUP:]
        return found

    def plan(self) -> list[dict[str, Any]]:
        """Where each operation will run, as `MLComputePlan` says."""
        answer, _ = self._link.request("plan", units=ALL_UNITS)
        rows: list[dict[str, Any]] = answer["operations"]
        return rows

    def close(self) -> None:
        self._link.close()

    def _times(self, units: str, runs: int) -> list[int]:
        answer, _ = self._link.request("time", units=units, runs=runs)
        return [int(item) for item in answer["nanoseconds"]]


class MacSession(AppleSession):
    """Implements `edgewise.targets.base.Session`, and takes times on the Mac itself."""

    def __init__(
        self,
        runner: MacRunner,
        manifest: Manifest,
        about: Mapping[str, str],
        forecasts: Sequence[Forecast],
    ) -> None:
        reason = None if about["system"] == "Darwin" else NO_MAC
        device = _described(about)
        super().__init__(runner, manifest, device=device, threads=1, latency_reason=reason)
        self._mac = runner
        self._forecasts = forecasts

    def prepare(self, feeds: Feeds) -> None:
        super().prepare(feeds)
        self.invoke()  # the agent times the inputs that it ran last

    def time_runs(self, runs: int) -> list[int]:
        return self._mac.time_runs(runs)

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """Where Core ML runs the operations, and how long each set of units takes."""
        placed = placement_findings(placements(self._mac.plan()), self._forecasts)
        return (*placed, *_unit_findings(self._mac.unit_times(), self.latency_reason))

    def close(self) -> None:
        super().close()
        self._mac.close()


def open_on_mac(
    path: Path, manifest: Manifest, address: MacAddress, function: str | None = None
) -> MacSession:
    """Start an agent, and open a function of the package there.

    Raises:
        DeviceError: the Mac cannot be reached, or cannot open the package.
        ModelError: the package cannot be read.
    """
    from edgewise.targets.apple.interpreter.program import load_program
    from edgewise.targets.apple.neural_engine import lint

    forecasts = lint(load_program(path, None, function).function).forecasts
    link = MacLink(address)
    try:
        return MacSession(MacRunner(link, path, function), manifest, link.about, forecasts)
    except BaseException:
        link.close()
        raise


def _arrays(payload: bytes) -> dict[str, Array]:
    with np.load(io.BytesIO(payload)) as stored:
        return dict(stored)


def _stored(named: Mapping[str, Array]) -> bytes:
    arrays: dict[str, Any] = dict(named)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def _packed(package: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(package, "model.mlpackage")
    return buffer.getvalue()


def _described(about: Mapping[str, str]) -> str:
    parts = (about["chip"], f"macOS {about['macos']}" if about["macos"] else about["system"])
    return f"mac ({', '.join(part for part in parts if part)})"


def _unit_findings(times: Mapping[str, list[int]], reason: str | None) -> list[Finding]:
    if reason is not None:
        return [Finding("apple/mac-latency", "info", f"not measured: {reason}")]
    if not times:
        return [Finding("apple/mac-latency", "info", "not measured: the package was not run")]
    told = []
    for units, nanoseconds in times.items():
        median, p90 = np.percentile(np.asarray(nanoseconds) / 1e6, [50, 90])
        told.append(f"{units} {median:.2f} ms (p90 {p90:.2f})")
    return [Finding("apple/mac-latency", "info", f"by compute units: {', '.join(told)}")]
