"""What a build will do, checked as far as it can be before any work is done."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import edgewise.targets
from edgewise.calibration.scheme import Scheme
from edgewise.config import (
    BudgetLimits,
    DataTable,
    LatencyTable,
    ModelTable,
    OptionValue,
    Project,
    TextTable,
)
from edgewise.data import ImagePreprocessing
from edgewise.data.preprocessing import DataSettings, TextColumns
from edgewise.errors import UsageError
from edgewise.exporters import SourceOptions
from edgewise.exporters.hub_name import is_hub_name
from edgewise.labels import read_labels
from edgewise.references import is_reference
from edgewise.targets import About, Target
from edgewise.targets.base import LOCAL
from edgewise.targets.validation import Budget, InstructionBaseline, Metric, get_metric
from edgewise.targets.validation.devices import ResolvedDevice, chosen, runs

#: the metric that asks for agreement with fp32 only, and so for no labels
NO_METRIC = "none"
DEFAULT_METRIC = "top1"
#: files that can hold a quantized model
_QUANTIZABLE = (".onnx", ".pt2", ".tflite")


@dataclass(frozen=True, slots=True)
class TargetPlan:
    """One target: its scheme, its own options, and the limits that its artifact must keep."""

    target: Target
    scheme: Scheme
    options: dict[str, OptionValue]
    budget: Budget
    devices: tuple[ResolvedDevice, ...]

    @property
    def name(self) -> str:
        return self.target.name

    @property
    def precision(self) -> str:
        return self.scheme.precision


@dataclass(frozen=True, slots=True)
class Plan:
    """A project made concrete; nothing in it has been read yet but the project itself."""

    project: Project
    name: str
    targets: tuple[TargetPlan, ...]
    settings: DataSettings
    metric: Metric | None
    earlier: InstructionBaseline | None

    @property
    def about(self) -> About:
        return about(self.project.model)

    @property
    def quantizes(self) -> bool:
        """Whether a target quantizes activations, and so needs calibration data."""
        return any(plan.scheme.needs_statistics for plan in self.targets)


def make_plan(
    project: Project, *, has_model: bool = False, devices: Sequence[str] | None = None
) -> Plan:
    """The plan of a project; its source is not looked at where `has_model` says it stands in
    for a model object.

    Args:
        devices: in place of the project's, for the targets that run there.

    Raises:
        DeviceError: there is no such device.
        UsageError: data is missing, a path does not exist, a metric is unknown, or a budget needs
            data that is not given.
        UnsupportedPrecision: a target does not offer the precision.
    """
    if not has_model:
        _check_source(project.model.source)
    named = chosen(devices or ())
    targets = tuple(_target_plan(project, name, named) for name in project.target_tables)
    check_paths(project.data)
    plan = Plan(
        project,
        project.model.name or default_name(project.model.source),
        targets,
        data_settings(project.data),
        metric_of(project.data),
        earlier_counts(project.latency, [d for target in targets for d in target.devices]),
    )
    if not has_model and not _may_be_quantized(project.model.source):
        check_calibration_data(plan)
    _check_budget_data(plan)
    _check_search(plan)
    return plan


def check_calibration_data(plan: Plan) -> None:
    """Raises UsageError where a target needs calibration data, and there are none: to be asked once
    the model is known to bring no scales of its own."""
    if not plan.quantizes or plan.project.data.calibration is not None:
        return
    raise UsageError(
        "calibration data is missing",
        why="precisions with integer activations choose their scales from it",
        remedy="Give --calibration or [data] calibration, or choose a precision that needs "
        f"none: {_without_data(plan.targets)}.",
    )


def _may_be_quantized(source: str) -> bool:
    """Whether a source of this kind can bring scales of its own: it has to be read first."""
    return is_reference(source) or Path(source).suffix.lower() in _QUANTIZABLE


def _without_data(targets: Sequence[TargetPlan]) -> str:
    """The precisions that all of the targets which quantize activations offer without data."""
    asking = [plan.target for plan in targets if plan.scheme.needs_statistics]
    first = asking[0].precisions
    return ", ".join(
        name
        for name in first
        if all(
            name in target.precisions and not target.scheme(name).needs_statistics
            for target in asking
        )
    )


def _check_source(source: str) -> None:
    if not (is_reference(source) or is_hub_name(source) or Path(source).exists()):
        raise UsageError("no such file", where=source, remedy="Check the path of the model.")


def check_paths(data: DataTable) -> None:
    """Raises UsageError for data that is neither a reference nor an existing file or folder."""
    for name in ("calibration", "evaluation"):
        spec: str | None = getattr(data, name)
        if spec is None or is_reference(spec):
            continue
        if not any(Path(path).exists() for path in (spec, spec.partition("#")[0])):
            raise UsageError(
                "no such file or folder", where=spec, remedy=f"Check the path of the {name} data."
            )
    if data.labels is not None:
        read_labels(data.labels)


def metric_of(data: DataTable) -> Metric | None:
    """The metric of the evaluation; `none` asks for agreement only. Raises UsageError."""
    name = data.metric or DEFAULT_METRIC
    return None if name == NO_METRIC else get_metric(name)


def data_settings(data: DataTable) -> DataSettings:
    """What the project says of its data. Raises UsageError for counts that do not agree."""
    image = None
    if data.image is not None:
        image = {key: getattr(data.image, key) for key in data.image.model_fields_set}
        image |= {key: _numbers(image[key]) for key in ("mean", "std") if key in image}
        ImagePreprocessing(**image)  # raises
    text = data.text or TextTable()
    columns = text.columns if isinstance(text.columns, tuple) else (text.columns,)
    known = TextColumns(tuple(c for c in columns if c is not None), text.label)
    return DataSettings(image, known, text.max_length)


def about(model: ModelTable) -> About:
    """What the user wants the files to say about themselves."""
    return About(model.description, model.version, model.author, model.license)


def source_options(project: Project) -> SourceOptions:
    """What the project says of its source beside where it is."""
    model = project.model
    return SourceOptions(
        input_shapes=model.input_shapes,
        weights=model.weights,
        signature=model.signature,
        task=model.task,
        exporter=model.exporter,
        allow_code=model.allow_code,
    )


def default_name(source: str) -> str:
    """File stem, or the last module of a reference, with nothing a file name should not hold."""
    stem = source.partition(":")[0].rpartition(".")[2] if is_reference(source) else ""
    if is_reference(source) and ".py:" in source:
        stem = Path(source.partition(":")[0]).stem
    text = re.sub(r"[^A-Za-z0-9._-]+", "_", stem or Path(source).stem).lstrip("._-")
    return text or "model"


def budget_of(limits: BudgetLimits) -> Budget:
    """The limits as validation wants them."""
    return Budget(
        accuracy_drop=limits.accuracy_drop,
        min_accuracy=limits.min_accuracy,
        max_latency_ms=limits.max_latency_ms,
        min_speedup=limits.min_speedup,
        max_size_mb=limits.max_size_mb,
        max_instructions=limits.max_instructions,
        max_instructions_rise=limits.max_instructions_rise,
    )


def devices_of(
    project: Project, target: str, named: Sequence[ResolvedDevice] = ()
) -> tuple[ResolvedDevice, ...]:
    """Where artifacts of a target are validated: on those of the named devices that run them, else
    on what the project says, else on this machine.

    Raises:
        DeviceError: there is no such device.
        UsageError: a device of the project is named twice, or does not run the target.
    """
    if fitting := tuple(device for device in named if runs(device, target)):
        return fitting
    table = project.targets.get(target)
    devices = chosen((table and table.devices) or (LOCAL,))
    for device in devices:
        if not runs(device, target):
            raise UsageError(
                f"artifacts for {target} do not run on '{device.text}'",
                where=f"[targets.{target}] devices",
                remedy="Name local, a Mac (mac:user@host) for apple, a core, board or phone for "
                "android and arm.",
            )
    return devices


def _target_plan(project: Project, name: str, named: Sequence[ResolvedDevice]) -> TargetPlan:
    table = project.target_tables[name]
    target = edgewise.targets.get(name)
    scheme = target.scheme(table.precision, table.options)
    target.check_options(table.options, table.precision)
    return TargetPlan(
        target,
        scheme,
        table.options,
        budget_of(project.budget.for_target(name)),
        devices_of(project, name, named),
    )


def earlier_counts(
    latency: LatencyTable, devices: Iterable[ResolvedDevice]
) -> InstructionBaseline | None:
    """The counts to compare with, where the project has any.

    Raises UsageError where they cannot be read, or no device counts instructions.
    """
    if latency.baseline is None:
        return None
    if not any(device.address.kind == "emulated" for device in devices):
        raise UsageError(
            "there is nothing to compare with the baseline",
            where=latency.baseline,
            why="instructions are counted on emulated devices only",
            remedy="Name one, such as --on emulated:cortex-a53.",
        )
    return InstructionBaseline.read(latency.baseline)


def _check_budget_data(plan: Plan) -> None:
    if plan.project.data.evaluation is not None and plan.metric is not None:
        return
    for target in plan.targets:
        for name in ("accuracy_drop", "min_accuracy"):
            if getattr(target.budget, name) is not None:
                raise UsageError(
                    f"budget '{name}' cannot be checked",
                    why="there is no labelled evaluation data"
                    if plan.metric is not None
                    else "the metric is 'none'",
                    remedy="Give --evaluation or [data] evaluation, or drop the budget.",
                )


def _check_search(plan: Plan) -> None:
    """Raises UsageError where a search is asked for that has nothing to go by."""
    if plan.project.search is None:
        return
    searched = [target for target in plan.targets if target.scheme.needs_statistics]
    if not searched:
        raise UsageError(
            "there is nothing to search for",
            where="[search]",
            why="no target quantizes activations",
            remedy="Choose w8a8 or w8a16, or drop the search.",
        )
    for target in searched:
        budget = target.budget
        if budget.accuracy_drop is None and budget.min_accuracy is None:
            raise UsageError(
                f"the search for {target.name} has no accuracy to keep",
                where="[search]",
                remedy="Set a budget, such as accuracy_drop = 0.005.",
            )


def _numbers(value: float | tuple[float, ...]) -> tuple[float, ...]:
    return value if isinstance(value, tuple) else (value,)
