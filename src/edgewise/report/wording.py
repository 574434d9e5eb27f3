"""Figures as people read them; the table and the page say the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgewise.exporters import Parity
from edgewise.findings import Finding
from edgewise.targets.base import LOCAL
from edgewise.targets.validation import (
    Accuracy,
    BudgetResult,
    DelegateLatency,
    Equivalence,
    Instructions,
    Latency,
    Layers,
    NoiseFloor,
    Profile,
    ProfilePart,
    TargetResult,
)
from edgewise.targets.validation.instructions import NOT_ASKED_FOR

#: operators of a part that are named one by one
_TOLD_OPERATORS = 4
#: of the instructions of a class, below which it is not told
_LEAST_SHARE = 0.005
#: metrics that are shares of examples: their drop is told in points of 0.01
_SHARES = ("top1", "top5", "map", "map50")


@dataclass(frozen=True, slots=True)
class Cell:
    """A figure, what it means beside the baseline, and why it is missing."""

    figure: str
    detail: str = ""
    reason: str | None = None


def origin_line(kind: str, exporter: str, parity: Parity) -> str:
    """`torch-module by torch.onnx (dynamo) 2.13.0; within 4.1e-07 of its source, ...`."""
    return (
        f"{kind} by {exporter}; {parity_line(parity)}"
        if exporter
        else f"{kind}; {parity_line(parity)}"
    )


def parity_line(parity: Parity) -> str:
    """`within 4.1e-07 of its source, argmax 100 %, on 32 real inputs (batch 1 and batch 3)`, or why
    it was not compared."""
    if parity.max_rel_error is None:
        return f"not compared with its source: {parity.reason}"
    within = f"within {parity.max_rel_error:.1e} of its source" if parity.max_rel_error else ""
    agreement = parity.argmax_agreement
    top = "" if agreement is None else f", argmax {_percent(agreement)}"
    inputs = f", on {parity.samples} {parity.inputs} input{'s' if parity.samples > 1 else ''}"
    sizes = f" ({' and '.join(parity.sizes)})" if parity.sizes else ""
    form = "" if parity.hub_form is None else f", {parity.hub_form}"
    return f"{within or 'equal to its source'}{form}{top}{inputs}{sizes}"


def parity_rows(parity: Parity) -> list[tuple[str, str, str, str]]:
    """Name, absolute and relative difference and argmax agreement of each output."""
    return [
        (
            output.name,
            f"{output.max_abs_error:.1e}",
            f"{output.max_rel_error:.1e}",
            f"not told: {output.argmax_reason}"
            if output.argmax_agreement is None
            else _percent(output.argmax_agreement),
        )
        for output in parity.outputs
    ]


def size(result: TargetResult) -> Cell:
    figure = bytes_text(result.size_bytes)
    if result.size_fp32_bytes is None:
        return Cell(figure)
    ratio = result.size_fp32_bytes / max(result.size_bytes, 1)
    return Cell(figure, f"{ratio:.1f}x smaller" if ratio >= 0.995 else f"{1 / ratio:.1f}x larger")


def accuracy(accuracy: Accuracy) -> Cell:
    if accuracy.fp32 is None or accuracy.artifact is None or accuracy.drop is None:
        if accuracy.top1_agreement is None:
            return Cell("not measured", reason=accuracy.reason)
        agreement = f"{accuracy.top1_agreement:.1%} as fp32"
        return Cell(agreement, reason=accuracy.reason)
    figure = f"{accuracy.fp32:.4f} -> {accuracy.artifact:.4f}"
    factor, unit = (100.0, " pt") if accuracy.metric in _SHARES else (1.0, "")
    drop = f"drop {_signless(accuracy.drop * factor)}{unit}"
    if accuracy.ci95 is None:
        return Cell(figure, drop)
    half = (accuracy.ci95[1] - accuracy.ci95[0]) / 2 * factor
    return Cell(figure, f"drop {_signless(accuracy.drop * factor)} ±{half:.2f}{unit}")


def latency(latency: Latency) -> Cell:
    if latency.median_ms is None:
        return Cell("not measured", reason=latency.reason)
    figure = milliseconds(latency.median_ms)
    if latency.speedup is None:
        return Cell(figure, reason=latency.reason)
    faster = f"{latency.speedup:.1f}x faster"
    slower = f"{1 / latency.speedup:.1f}x slower" if latency.speedup else "slower"
    return Cell(figure, faster if latency.speedup >= 0.995 else slower)


def is_elsewhere(targets: Mapping[str, TargetResult]) -> bool:
    """Whether a device other than this machine took part, so that each row names its own."""
    return any(result.device != LOCAL for result in targets.values())


def facts(result: TargetResult) -> dict[str, str]:
    """What the device said of itself, by label; what it does not tell is left out."""
    told = result.facts
    if told is None:
        return {}
    temperatures = [
        f"{value:.1f} °C"
        for value in (told.temperature_before_c, told.temperature_after_c)
        if value is not None
    ]
    lines = {
        "device": told.description,
        "model": told.model,
        "cpu": told.cpu,
        "cores": told.cores,
        "machine": told.machine,
        "features": " ".join(told.features),
        "system": told.system,
        "runtime": told.runtime,
        "governor": told.governor,
        "load": told.load,
        "temperature before and after": " to ".join(temperatures),
    }
    return {label: str(text) for label, text in lines.items() if text not in (None, "")}


def where_measured(targets: Mapping[str, TargetResult]) -> list[str]:
    """`latency of android, arm: local (x86_64), threads 1`: one line per device and threads."""
    places: dict[str, list[str]] = {}
    for name, result in targets.items():
        if result.latency.median_ms is not None:
            place = f"{result.latency.device}, threads {result.latency.threads}"
            places.setdefault(place, []).append(name)
    return [f"latency of {', '.join(names)}: {place}" for place, names in places.items()]


def delegate_lines(targets: Mapping[str, TargetResult]) -> list[str]:
    """`delegates of android on adb:XYZ: gpu 2.31 ms, nnapi not measured: ...`."""
    return [
        f"delegates of {result.target} on {result.device}: "
        + "; ".join(f"{d.delegate} {delegate_summary(d)}" for d in result.delegates)
        for result in targets.values()
        if result.delegates
    ]


def delegate_summary(found: DelegateLatency) -> str:
    """`2.31 ms (all of the graph)`, or why there is no time."""
    if found.median_ms is None:
        return f"not measured ({found.reason})"
    kernels = "" if found.kernels is None else f" in {found.kernels} kernels"
    part = {"completely": " (all of the graph)", "partially": f" (a part of the graph{kernels})"}
    return milliseconds(found.median_ms) + part.get(found.applied or "", "")


def equivalence(equivalence: Equivalence) -> Cell:
    agreement = equivalence.argmax_agreement
    detail = "" if agreement is None else f"argmax {_percent(agreement)}"
    if equivalence.identical:
        return Cell("identical", detail)
    if equivalence.max_lsb is not None:
        return Cell(f"max {equivalence.max_lsb:.3g} LSB", detail)
    if equivalence.sqnr_db is not None:
        return Cell(f"{equivalence.sqnr_db:.0f} dB SQNR", detail)
    return Cell("not measured", reason=equivalence.reason)


def how_faithful(targets: Mapping[str, TargetResult]) -> list[str]:
    """`android: 65 layers within 1 LSB of the QDQ model, ...`: beside the outputs, what the layers
    say, and how far ONNX Runtime is from itself, fused against unfused."""
    told: dict[str, list[str]] = {}
    for name, result in targets.items():
        parts = [_layers(result.equivalence.layers), _floor(result.equivalence.floor)]
        if text := "; ".join(part for part in parts if part):
            told.setdefault(text, []).append(name)
    return [f"{', '.join(names)}: {text}" for text, names in told.items()]


def _layers(layers: Layers | None) -> str:
    if layers is None or layers.max_lsb is None:
        return "" if layers is None else f"layers not compared: {layers.reason}"
    count = "1 layer" if layers.layers == 1 else f"{layers.layers} layers"
    whole = f"{count} within {layers.max_lsb:.3g} LSB of the QDQ model"
    return f"{whole}, {layers.beyond} above their limit" if layers.beyond else whole


def _floor(floor: NoiseFloor | None) -> str:
    if floor is None or floor.max_lsb is None:
        return ""
    agreement = floor.argmax_agreement
    detail = "" if agreement is None else f", argmax {_percent(agreement)}"
    return f"ONNX Runtime differs from itself by {floor.max_lsb:.3g} LSB{detail}"


def profile_summary(profile: Profile) -> str:
    """`sum of 65 parts 3.10 ms (fp32 6.28 ms), whole artifact 2.96 ms; 12 parts slower than in
    fp32, by 0.21 ms together`."""
    if profile.sum_ms is None:
        return f"not measured: {profile.reason}"
    fp32 = "" if profile.fp32_sum_ms is None else f" (fp32 {milliseconds(profile.fp32_sum_ms)})"
    whole = "" if profile.whole_ms is None else f", whole artifact {milliseconds(profile.whole_ms)}"
    text = f"sum of {len(profile.parts)} parts {milliseconds(profile.sum_ms)}{fp32}{whole}"
    if not profile.slower:
        return text
    lost = milliseconds(profile.lost_ms or 0.0)
    return f"{text}; {len(profile.slower)} parts slower than in fp32, by {lost} together"


def profile_lines(targets: Mapping[str, TargetResult], most: int) -> list[str]:
    """For the console: a summary per profiled target, and its parts with the most time."""
    lines = []
    for name, result in targets.items():
        if result.profile is None:
            continue
        lines.append(f"profile of {name}: {profile_summary(result.profile)}")
        lines += [f"  {profile_line(part)}" for part in result.profile.parts[:most]]
    return lines


def profile_line(part: ProfilePart) -> str:
    """`14.3 %  0.501 ms (fp32 0.478 ms, slower)  PAD + CONV_2D  hardswish`."""
    fp32 = "" if part.fp32_ms is None else f" (fp32 {milliseconds(part.fp32_ms)}"
    fp32 += "" if not fp32 else ", slower)" if part.is_slower else ")"
    operators = operator_names(part.operators)
    return f"{part.share:6.1%}  {milliseconds(part.ms)}{fp32}  {operators}  {part.tensor}"


def instruction_lines(targets: Mapping[str, TargetResult]) -> list[str]:
    """For the console: `instructions of arm on emulated:cortex-a76: 60.30 M, 0.33 of fp32: dot
    40 %, ...`, or why there are none."""
    lines = []
    for name, result in targets.items():
        counted = result.instructions
        if counted is not None and (counted.total is not None or counted.reason != NOT_ASKED_FOR):
            lines.append(f"instructions of {name}: {instruction_summary(counted)}")
    return lines


def instruction_summary(counted: Instructions) -> str:
    if counted.total is None:
        return f"not counted: {counted.reason}"
    ratio = "" if counted.ratio is None else f", {counted.ratio:.3f} of fp32"
    classes = sorted(counted.by_class.items(), key=lambda item: -item[1])
    shares = ", ".join(
        f"{name} {100 * count / counted.total:.0f} %"
        for name, count in classes
        if count / counted.total >= _LEAST_SHARE
    )
    return f"{counted.total / 1e6:.2f} M on {counted.device}{ratio} ({shares})"


def operator_names(operators: Sequence[str]) -> str:
    """`PAD + CONV_2D`; a long part by its first and last operators."""
    if len(operators) <= _TOLD_OPERATORS:
        return " + ".join(operators)
    return f"{' + '.join(operators[:2])} + {len(operators) - 3} more + {operators[-1]}"


def budget(result: TargetResult) -> Cell:
    if not result.budget:
        return Cell("none")
    missed = [row for row in result.budget if not row.ok]
    if not missed:
        return Cell("ok")
    return Cell("MISSED", ", ".join(row.name for row in missed))


def budget_line(target: str, row: BudgetResult) -> str:
    """`android max_size_mb: 0.055, limit 0.001`."""
    if row.value is None:
        return f"{target} {row.name}: not measured ({row.reason}), limit {row.limit:g}"
    digits = ".7g" if row.name == "max_instructions" else ".4g"  # counts are exact
    return f"{target} {row.name}: {row.value:{digits}}, limit {row.limit:{digits}}"


def missed_budgets(targets: Mapping[str, TargetResult]) -> list[str]:
    return [
        budget_line(name, row)
        for name, result in targets.items()
        for row in result.budget
        if not row.ok
    ]


def finding_line(target: str, finding: Finding) -> str:
    """`android warning: 'node': message. Remedy (rule)`."""
    head = f"{target} {finding.severity}".strip()
    where = f"'{finding.node}': " if finding.node else ""
    message = finding.message.rstrip(".")
    return f"{head}: {where}{message}. {finding.remedy} ({finding.rule})".replace(".  (", ". (")


def bytes_text(count: int) -> str:
    """SI units, as budgets are."""
    if count < 1_000_000:
        return f"{count / 1000:.1f} kB"
    return f"{count / 1_000_000:.2f} MB"


def milliseconds(value: float) -> str:
    return f"{value:.3f} ms" if value < 1 else f"{value:.2f} ms"


def _percent(share: float) -> str:
    """Never rounds up to 100 %."""
    if share == 1.0:
        return "100 %"
    return f"{min(share * 100, 99.99):.2f} %"


def _signless(value: float) -> str:
    """Two decimals without a minus sign in front of zero."""
    text = f"{value:.2f}"
    return "0.00" if text == "-0.00" else text
