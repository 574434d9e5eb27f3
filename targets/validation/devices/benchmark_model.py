"""LiteRT's native `benchmark_model` on a phone: latency on its GPU and its neural accelerator.

The runner of the bundle uses the processor only: delegates for the rest come with Android's own
libraries, which a program for Android alone can load. The user gives that program (LiteRT and
TensorFlow build it, and Google offers builds for download); it is taken there with the file, run
once per delegate on random inputs, and deleted again. A delegate that the tool asks for but that
does not run the graph leaves it to the processor: such times are none of the delegate's, and are
not reported.
"""

from __future__ import annotations

import shlex
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from edgewise.errors import DeviceError, ModelError
from edgewise.progress import SILENT, Progress
from edgewise.targets.validation.devices import scripts
from edgewise.targets.validation.devices.benchmark_output import Applied, read_output
from edgewise.targets.validation.devices.store import Said, Shell
from edgewise.targets.validation.results import DelegateLatency

PLACE = PurePosixPath("/data/local/tmp/edgewise")
_TOOL, _GRAPH = "benchmark_model", "model.tflite"
_SECONDS = 600.0
_ARM64_MACHINE = 183  # e_machine of ELF
_REASON_LENGTH = 200


@dataclass(frozen=True, slots=True)
class Delegate:
    """What selects it, and the name by which the tool speaks of it; empty for none."""

    flag: str
    name: str


#: XNNPACK is what LiteRT uses by default; `cpu` is without it
DELEGATES = {
    "cpu": Delegate("--use_xnnpack=false", ""),
    "xnnpack": Delegate("--use_xnnpack=true", "XNNPACK"),
    "gpu": Delegate("--use_gpu=true", "GPU"),
    "nnapi": Delegate("--use_nnapi=true", "NNAPI"),
}
USUAL = ("xnnpack", "gpu", "nnapi")


def measure_delegates(
    shell: Shell,
    tool: Path,
    model: Path,
    *,
    delegates: Sequence[str] = USUAL,
    threads: int = 1,
    profile: bool = False,
    arguments: Sequence[str] = (),
    progress: Progress = SILENT,
) -> tuple[DelegateLatency, ...]:
    """Time a TFLite file with each delegate (of `DELEGATES`); `arguments` go to the tool as well.

    What a delegate cannot run is not measured, with the reason.

    Raises:
        DeviceError: the phone cannot be reached, or the tool is none for ARM64 Android.
        ModelError: the file cannot be read.
    """
    _check_tool(tool, shell.address)
    found = []
    with tempfile.TemporaryDirectory(prefix="edgewise-") as folder:
        packed = Path(folder) / "files.tar"
        _pack(packed, tool, model)
        for delegate in delegates:
            progress.step(f"Timing {model.name} with {delegate} on {shell.address}")
            options = [DELEGATES[delegate].flag, f"--num_threads={threads}"]
            if profile:
                options.append("--enable_op_profiling=true")
            script = _script([*options, *arguments])
            said = shell.run(script, source=packed, timeout=_SECONDS)
            found.append(_latency(delegate, threads, said))
    return tuple(found)


def _check_tool(tool: Path, address: str) -> None:
    try:
        with tool.open("rb") as file:
            head = file.read(20)
    except OSError as error:
        raise DeviceError(
            "cannot read the benchmark tool", where=str(tool), why=error.strerror or str(error)
        ) from error
    if head[:4] == b"\x7fELF" and int.from_bytes(head[18:20], "little") != _ARM64_MACHINE:
        raise DeviceError(
            "the benchmark tool is no ARM64 program",
            where=str(tool),
            remedy=f"Give the build for android_arm64, which runs on {address}.",
        )


def _pack(packed: Path, tool: Path, model: Path) -> None:
    try:
        with tarfile.open(packed, "w") as archive:
            for path, name, mode in ((tool, _TOOL, 0o700), (model, _GRAPH, 0o600)):
                info = tarfile.TarInfo(name)
                info.size, info.mode = path.stat().st_size, mode
                with path.open("rb") as file:
                    archive.addfile(info, file)
    except OSError as error:
        raise ModelError(
            "cannot take the file to the phone",
            where=str(error.filename or model),
            why=error.strerror or str(error),
        ) from error


def _script(options: Sequence[str]) -> str:
    """Unpack below the place, run, delete. What the tool says goes to one stream, in order."""
    place = shlex.quote(str(PLACE))
    tool = shlex.join([f"./{_TOOL}", f"--graph={_GRAPH}", *options])
    return f"""made=; [ -d {place} ] || made=1
mkdir -p {place} || exit
({scripts.temporary(PLACE)}
cd "$TMPDIR" && tar -x -o -f - && {tool} 2>&1)
code=$?
[ -z "$made" ] || rmdir {place} 2>/dev/null
exit $code"""


def _latency(delegate: str, threads: int, said: Said) -> DelegateLatency:
    output = read_output(said.output)
    name = DELEGATES[delegate].name
    applied = next((item for item in reversed(output.applied) if item.name == name), None)
    reason = _reason(said, name, applied, output.average, output.errors)
    if reason is not None:
        how = None if applied is None else applied.how
        return DelegateLatency(delegate, threads, applied=how, reason=reason)
    runs = {key: value / 1e3 for key, value in output.runs.items() if key != "count"}
    return DelegateLatency(
        delegate,
        threads,
        applied=None if applied is None else applied.how,
        kernels=None if applied is None else applied.kernels,
        median_ms=runs.get("median"),
        average_ms=_ms(output.average),
        min_ms=runs.get("min"),
        max_ms=runs.get("max"),
        p5_ms=runs.get("p5"),
        p95_ms=runs.get("p95"),
        init_ms=_ms(output.init),
        first_ms=_ms(output.first),
        warmup_ms=_ms(output.warmup),
        runs=int(output.runs.get("count", 0)),
        memory_mb=output.memory_mb,
        operators=output.operators,
        reason=None if "median" in runs else "this release of the tool prints no median",
    )


def _reason(
    said: Said, name: str, applied: Applied | None, average: float | None, errors: Sequence[str]
) -> str | None:
    """Why there are no times of the delegate; None where there are."""
    last = (said.output + said.errors).strip().splitlines()[-1:]
    detail = "; ".join(errors or last)[:_REASON_LENGTH]
    if said.code > 128:
        return f"benchmark_model was ended by signal {said.code - 128}: {detail}"
    if said.code != 0:
        return f"benchmark_model failed with code {said.code}: {detail}"
    if name and (applied is None or applied.how == "not"):
        told = f": {'; '.join(errors)[:_REASON_LENGTH]}" if errors else ""
        return f"the {name} delegate does not run the graph, the processor did{told}"
    if average is None:
        return f"benchmark_model printed no times: {detail}"
    return None


def _ms(microseconds: float | None) -> float | None:
    return None if microseconds is None else microseconds / 1e3
