"""Core ML packages of any tool that hold an ML Program."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from edgewise.inspection.core_ml_network import dtype_of, network_of
from edgewise.inspection.facts import TensorFacts
from edgewise.inspection.inspected import Inspected, parts_of
from edgewise.targets.apple._coremltools import types
from edgewise.targets.apple.deployment import SYSTEMS, core_ml_target
from edgewise.targets.apple.interpreter.program import LoadedFunction, load_program
from edgewise.targets.apple.neural_engine import lint

_WRITER = "com.github.apple.coremltools.version"
_SIGNED = "edgewise.version"


def inspect_package(path: Path) -> Inspected:
    """The default function of a package. Raises ModelError, UsageError: see `load_program`."""
    loaded = load_program(path, None)
    function = loaded.function
    inputs = [v for v in function.inputs.values() if not types.is_state(v.sym_type)]
    findings = lint(function).findings
    summary = next((f.message for f in findings if f.rule == "apple/ane-forecast"), "")
    return Inspected(
        kind="mlpackage",
        network=network_of(function, _free_dimensions(inputs)),
        inputs=tuple(_input(variable, loaded) for variable in inputs),
        outputs=tuple(_tensor(variable) for variable in function.outputs),
        producer=_producer(loaded),
        versions={
            "specification": str(loaded.specification_version),
            **({"functions": ", ".join(loaded.functions)} if len(loaded.functions) > 1 else {}),
        },
        needs=_needs(loaded.specification_version),
        parts=parts_of(path, {}),
        target="apple",
        findings=dict(Counter(finding.rule for finding in findings)),
        note=summary,
    )


def _producer(loaded: LoadedFunction) -> str:
    names = {"edgewise": _SIGNED, "coremltools": _WRITER}
    told = [f"{name} {loaded.metadata[key]}" for name, key in names.items()
            if key in loaded.metadata]  # fmt: skip
    return ", ".join(told)


def _needs(version: int) -> dict[str, str]:
    found = [system for system in SYSTEMS if core_ml_target(system).value == version]
    return {"system": f"{found[0]} or newer"} if found else {}


def _input(variable: Any, loaded: LoadedFunction) -> TensorFacts:
    plain = _tensor(variable)
    image = loaded.images.get(variable.name)
    if image is None:
        return plain
    return TensorFacts(plain.name, plain.shape, f"picture, {image.color_space}")


def _tensor(variable: Any) -> TensorFacts:
    try:
        sizes = list(variable.shape)
    except (AttributeError, TypeError):  # what a classifier says is no tensor
        return TensorFacts(variable.name, None, dtype_of(variable))
    shape = tuple(str(n) if types.symbolic.is_symbolic(n) else int(n) for n in sizes)
    return TensorFacts(variable.name, shape, dtype_of(variable))


def _free_dimensions(inputs: list[Any]) -> tuple[str, ...]:
    return tuple(
        f"{variable.name}[{axis}]"
        for variable in inputs
        for axis, size in enumerate(variable.shape)
        if types.symbolic.is_symbolic(size)
    )
