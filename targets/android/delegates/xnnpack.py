"""What XNNPACK leaves to LiteRT's built-in kernels, and the ratios of scales that it limits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from edgewise.findings import Finding
from edgewise.targets.android.delegates.alike import (
    alike_finding,
    by_kind,
    grouped,
    kind_counts,
)
from edgewise.targets.android.delegates.placement import Placement
from edgewise.targets.android.model import Operator
from edgewise.targets.android.ops.elementwise import ADD_LIMITS, MUL_LIMITS, inside

#: scale of input over output that XNNPACK takes for QUANTIZE of int8 to int8
_QUANTIZE_LIMITS = (2.0**-8, 2.0**7 + 1)


def placement_findings(operators: Iterable[Operator], placement: Placement) -> list[Finding]:
    """What the runtime said, per dtype and kind. Where XNNPACK takes no operator of a dtype, as of
    int16, that is one thing to know and not one per kind."""
    found = []
    asked = [operator for operator in operators if operator in placement.asked]
    for dtype, of_dtype in grouped(asked, computed_in).items():
        left = [operator for operator in of_dtype if operator not in placement.delegated]
        groups = by_kind(left)
        if len(groups) > 1 and len(left) == len(of_dtype):
            text = f"XNNPACK takes none of {len(left)} {dtype} operators: {kind_counts(left)}"
            found.append(_left(text, left, placement))
            continue
        for kind, group in groups.items():
            text = f"XNNPACK leaves {len(group)} {dtype} {kind} to the built-in kernels"
            found.append(_left(text, group, placement))
    if placement.reason:
        text = f"{placement.runtime} could not be asked about every operator: {placement.reason}"
        found.append(Finding("android/placement-unknown", "info", text))
    return found


def _left(text: str, operators: Sequence[Operator], placement: Placement) -> Finding:
    return alike_finding("not-delegated", f"{text}, says {placement.runtime}", operators)


def computed_in(operator: Operator) -> str:
    """`int8` or `int16` for integer kernels of quantized values, else the dtype of the result."""
    stored = operator.stored_dtype
    return str(operator.outputs[0].dtype if stored is None else stored)


def ratio_findings(operators: Iterable[Operator]) -> list[Finding]:
    """int8 operators whose ratios of scales are beyond XNNPACK's limits; they run, but slower."""
    beyond = [o for o in operators if o.is_int8 and not _inside_limits(o)]
    return [
        alike_finding(
            "scale-ratio", f"the scales of {len(group)} {kind} are beyond XNNPACK's limits", group
        )
        for kind, group in by_kind(beyond).items()
    ]


def _inside_limits(operator: Operator) -> bool:
    out = operator.outputs[0].quantization
    scales = [t.quantization.scale[0] for t in operator.inputs if t.quantization is not None]
    if out is None or not scales:
        return True
    ratios = [float(scale / out.scale[0]) for scale in scales]
    if operator.kind in ("ADD", "SUB"):
        return all(inside(ratio, ADD_LIMITS) for ratio in ratios)
    if operator.kind == "MUL" and len(scales) == 2:
        return inside(float(scales[0] * scales[1] / out.scale[0]), MUL_LIMITS)
    if operator.kind == "QUANTIZE":
        return inside(ratios[0], _QUANTIZE_LIMITS)
    return True
