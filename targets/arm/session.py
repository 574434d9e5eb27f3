"""The artifact in ONNX Runtime's CPU provider, with the options that the manifest names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from edgewise.errors import DeviceError, ModelError, UsageError
from edgewise.findings import Finding
from edgewise.targets.arm.host import host_findings
from edgewise.targets.arm.session_options import SESSION_OPTIONS
from edgewise.targets.base import Array, Feeds, Manifest
from edgewise.targets.file_form import FileForm
from edgewise.targets.host_cpu import HostCpu, read_host_cpu


class ArmSession:
    """Implements `edgewise.targets.base.Session` on this machine's CPU.

    `findings` tells what the host's processor means for the figures measured through the session.
    """

    def __init__(
        self, path: Path, manifest: Manifest, *, threads: int, host: HostCpu | None = None
    ) -> None:
        host = host or read_host_cpu()
        self.device = f"local ({host.arch})"
        self.threads = threads
        # A timing taken here is this processor's own, and `device` names it.
        self.latency_reason: str | None = None
        self.findings: tuple[Finding, ...] = host_findings(
            host, quantized=manifest.precision != "fp32"
        )
        self._form = FileForm(manifest)
        self._output_names = [signature.file_name for signature in manifest.outputs]
        self._session: Any = _load(path, manifest, threads)
        self._binding: Any = None

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """Raises UsageError for a wrong input name, DataError for a wrong shape, and ModelError
        where the runtime fails."""
        session, converted = self._opened(), self._form.to_file(feeds)
        try:
            results = session.run(self._output_names, dict(converted.arrays))
        except Exception as error:  # onnxruntime has a dozen exception types without a common base
            raise _failed("cannot run the artifact", error) from error
        found = dict(zip(self._output_names, (np.asarray(r) for r in results), strict=True))
        return self._form.from_file(found, converted.filling)

    def prepare(self, feeds: Feeds) -> None:
        binding = self._opened().io_binding()
        for name, array in self._form.to_file(feeds).arrays.items():
            binding.bind_cpu_input(name, array)
        for name in self._output_names:
            binding.bind_output(name)
        self._binding = binding

    def invoke(self) -> None:
        session = self._opened()
        if self._binding is None:
            raise UsageError("invoke needs inputs", remedy="Call prepare(feeds) first.")
        try:
            session.run_with_iobinding(self._binding)
        except Exception as error:  # see above
            raise _failed("cannot run the artifact", error) from error

    def close(self) -> None:
        self._binding = None
        self._session = None

    def _opened(self) -> Any:
        if self._session is None:
            raise DeviceError("the session is closed", remedy="Open the artifact again.")
        return self._session


def _load(path: Path, manifest: Manifest, threads: int) -> Any:
    """With the options of the manifest, as on a device."""
    # heavy, and of no use to who emits only
    from edgewise.targets.validation.devices.runner import ort_options

    try:
        options = ort_options(ort, str(path), threads, manifest.options.get("session", {}))
        return ort.InferenceSession(
            str(path), options, providers=SESSION_OPTIONS["execution_providers"]
        )
    except Exception as error:  # see above
        raise _failed("ONNX Runtime cannot load the artifact", error, str(path)) from error


def _failed(what: str, error: Exception, where: str = "") -> ModelError:
    return ModelError(what, where=where, why=(str(error).strip().splitlines() or [""])[0])
