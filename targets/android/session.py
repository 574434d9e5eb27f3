"""An Android artifact opened in LiteRT on this machine, with XNNPACK.

An artifact with a free batch takes any, and the session resizes it; one with a fixed batch takes
fewer examples as well (`edgewise.targets.file_form`).
"""

from __future__ import annotations

import platform
import sys
from typing import Any

from edgewise.errors import DeviceError
from edgewise.findings import Finding
from edgewise.targets.android.runtime import LoadFailure, load, resize
from edgewise.targets.base import Array, Artifact, Feeds
from edgewise.targets.file_form import FileForm, Filling


class LiteRtSession:
    """`edgewise.targets.base.Session` over a LiteRT interpreter.

    `findings` tells that a latency measured through it is this machine's, not a phone's.
    """

    latency_reason: str | None = None

    def __init__(self, artifact: Artifact, threads: int = 1) -> None:
        """Load the file and allocate its tensors. Raises DeviceError where LiteRT refuses it."""
        self.device, self.threads = f"local ({platform.machine()})", threads
        self.findings = _host_findings()
        self._form = FileForm(artifact.manifest)
        try:
            self._interpreter: Any = load(artifact.path, threads)
        except LoadFailure as failure:
            raise DeviceError(
                "LiteRT refuses the file", where=str(artifact.path), why=str(failure)
            ) from failure
        details = self._interpreter.get_input_details()
        self._shapes = {d["index"]: tuple(int(dim) for dim in d["shape"]) for d in details}
        self._filling = Filling(0, 0)
        self._inputs = _indices(details)
        self._outputs = _indices(self._interpreter.get_output_details())

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """Arrays with the hub model's names, layouts and dtypes, in and out."""
        self.prepare(feeds)
        self.invoke()
        found = {name: self._open().get_tensor(i) for name, i in self._outputs.items()}
        return self._form.from_file(found, self._filling)

    def prepare(self, feeds: Feeds) -> None:
        """Bring the inputs to the file's layout and dtype and copy them in.

        Raises UsageError for a missing or unknown input, DataError for a wrong shape.
        """
        interpreter = self._open()
        converted = self._form.to_file(feeds)
        self._filling = converted.filling
        arrays = {self._inputs[name]: array for name, array in converted.arrays.items()}
        self._resize({index: array.shape for index, array in arrays.items()})
        for index, array in arrays.items():
            interpreter.set_tensor(index, array)

    def _resize(self, shapes: dict[int, tuple[int, ...]]) -> None:
        if shapes == self._shapes:
            return
        try:
            resize(self._open(), shapes)
        except LoadFailure as failure:
            raise DeviceError(
                "LiteRT cannot resize the inputs",
                why=str(failure),
            ) from failure
        self._shapes = shapes

    def invoke(self) -> None:
        """Run the prepared inputs. Raises DeviceError when a kernel fails."""
        try:
            self._open().invoke()
        except (RuntimeError, ValueError) as error:
            raise DeviceError("LiteRT failed to run the model", why=str(error)) from error

    def close(self) -> None:
        """Free the interpreter; the session cannot be used afterwards."""
        self._interpreter = None

    def _open(self) -> Any:
        if self._interpreter is None:
            raise DeviceError("the session is closed", remedy="Open the artifact again.")
        return self._interpreter


def _host_findings() -> tuple[Finding, ...]:
    if hasattr(sys, "getandroidapilevel"):
        return ()
    return (
        Finding(
            "android/measured-off-device",
            "warning",
            f"measured on this {platform.machine()} machine, not on a phone: latency differs, "
            "outputs hardly do",
            remedy="Measure on the device before you rely on the latency.",
        ),
    )


def _indices(details: list[dict[str, Any]]) -> dict[str, int]:
    return {detail["name"]: detail["index"] for detail in details}
