"""Which targets take a model, and why not: each is asked about its hub model.

What is asked is `target.check` with the precisions that the target offers. It looks at the float
model: whatever depends on scales is told by a build, which has data to choose them from. Precisions
that store activations alike are asked about once: to a check they are the same graph.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

import onnx_ir as ir

from edgewise.calibration.scheme import Scheme
from edgewise.errors import EdgewiseError, UnsupportedOperator
from edgewise.findings import Finding
from edgewise.graph import node_label
from edgewise.inspection.facts import Refusal, Support
from edgewise.inspection.inspected import Inspected
from edgewise.targets import EmitOptions, get
from edgewise.targets.base import Target

_SUMMARY = "apple/ane-forecast"
_OWN = "this is its own file"
#: in the place of a precision, for a file that has its own already
_FILE = "file"


def support_of(inspected: Inspected, targets: Sequence[str]) -> Iterator[Support]:
    """One row per target and precision, as they are found out."""
    if inspected.hub is None:
        for name in targets:
            yield _of_file(inspected, name)
        return
    try:
        hub = inspected.hub()
    except EdgewiseError as error:
        for name in targets:
            yield Support(name, _FILE, False, (_refusal(error),), {}, "there is no hub model")
        return
    for name in targets:
        yield from _of_target(get(name), hub)


def _of_file(inspected: Inspected, name: str) -> Support:
    if name == inspected.target:
        remarks = dict(inspected.findings)
        note = "; ".join(text for text in (_OWN, inspected.note) if text)
        return Support(name, _FILE, True, (), remarks, note)
    if inspected.kind == "tflite":
        note = "run `edgewise export` on it, and inspect the hub model that it becomes"
    else:
        note = "it is finished for another target; build from the model it was made of"
    return Support(name, _FILE, None, (), {}, note)


def _of_target(target: Target, hub: ir.Model) -> Iterator[Support]:
    answers: dict[str, Support] = {}
    for precision in target.precisions:
        alike = _alike(target.scheme(precision))
        if alike not in answers:
            try:
                findings = target.check(hub, precision, options=EmitOptions())
                answers[alike] = _support(target.name, precision, findings, hub)
            except EdgewiseError as error:
                refusal = _refusal(error)
                answers[alike] = Support(target.name, precision, False, (refusal,), {})
        yield replace(answers[alike], precision=precision)


def _refusal(error: EdgewiseError) -> Refusal:
    if isinstance(error, UnsupportedOperator):
        return Refusal(error.node, error.op_type, error.why, error.remedy)
    return Refusal("", "", str(error), "")


def _alike(scheme: Scheme) -> str:
    """What precisions of one answer have in common."""
    return repr(scheme.activation) if scheme.is_quantized else scheme.precision


def _support(name: str, precision: str, findings: Sequence[Finding], hub: ir.Model) -> Support:
    operators = {node_label(node): node.op_type for node in hub.graph.all_nodes()}
    refusals = tuple(
        Refusal(f.node, kind, f.message.removeprefix(f"{kind}: "), f.remedy)
        for f in findings
        for kind in [operators.get(f.node, "")]
        if f.severity == "error"
    )
    others = Counter(f.rule for f in findings if f.severity != "error" and f.rule != _SUMMARY)
    note = next((f.message for f in findings if f.rule == _SUMMARY), "")
    return Support(name, precision, not refusals, refusals, dict(others), note)
