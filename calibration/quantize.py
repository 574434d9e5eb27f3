"""Float model and statistics in, QDQ model that obeys a scheme out. One stage per line."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import onnx_ir as ir
import onnx_ir.passes.common as common

from edgewise.calibration.activation_functions import ActivationPlan, Bounds, plan_activations
from edgewise.calibration.composites import Composites, join, split
from edgewise.calibration.costly_sharing import loosen_costly_ties
from edgewise.calibration.finish import finish, infer_shapes
from edgewise.calibration.float_form import name_nodes, to_float_form
from edgewise.calibration.known import (
    Known,
    derive_ranges,
    known_range,
    missing_activations,
    on_grid,
)
from edgewise.calibration.known_findings import Given, known_findings
from edgewise.calibration.masked_softmax import leave_masked_softmaxes
from edgewise.calibration.operands import activations
from edgewise.calibration.ort_quantizer import INTEGER_TYPES, Steering, insert_qdq
from edgewise.calibration.placement import Placement, place
from edgewise.calibration.range_findings import range_findings
from edgewise.calibration.ranges import DEFAULT_PERCENTILE, Range, range_method
from edgewise.calibration.recipe import PLAIN, WEIGHT_METHODS, Recipe
from edgewise.calibration.residual_stream import residual_sums, scale_stretched_outputs
from edgewise.calibration.saturated_masks import saturate_masks
from edgewise.calibration.scheme import NumberFormat, Scheme
from edgewise.calibration.shared_scales import assign_parameters, requantize_conflicts
from edgewise.calibration.statistics import Statistics, model_hash
from edgewise.calibration.verify import Promise, verify
from edgewise.calibration.weights import saturate_weights, weight_parameters
from edgewise.errors import EdgewiseError, ModelError, UnsupportedPrecision, UsageError
from edgewise.findings import Finding
from edgewise.graph import constant, forget_known_ranges, is_quantized_model, known_ranges
from edgewise.graph.joined_bias import join_biases
from edgewise.graph.swish import spell_out_silu

#: tensors that an error names
_NAMED = 3
#: types that are short of integers
_EIGHT_BITS = frozenset({"int8", "uint8"})


#: of a sigmoid that the hub model has within a Swish, and that was not observed therefore
_GATE = Range(0.0, 1.0)


@dataclass(frozen=True, slots=True)
class Quantized:
    """A QDQ model and the remarks that its making gave."""

    model: ir.Model
    findings: tuple[Finding, ...]


def quantize(
    model: ir.Model,
    statistics: Statistics | None,
    scheme: Scheme,
    *,
    method: str = "minmax",
    percentile: float = DEFAULT_PERCENTILE,
    exclude: Collection[str] = (),
) -> ir.Model:
    """The QDQ model alone, of a recipe that has no more to it; see `quantize_with_findings`."""
    recipe = Recipe(method=method, percentile=percentile, float_nodes=frozenset(exclude))
    return quantize_with_findings(model, statistics, scheme, recipe).model


def quantize_with_findings(
    model: ir.Model,
    statistics: Statistics | None,
    scheme: Scheme,
    recipe: Recipe = PLAIN,
) -> Quantized:
    """Insert QuantizeLinear and DequantizeLinear where the scheme wants integers.

    Every rule of the scheme is verified on the result. Names of nodes and tensors survive, but for
    activations that fold away.

    Args:
        model: hub model, never changed.
        statistics: collected with this model; None where the model knows ranges of its own (see
            `edgewise.graph.known_ranges`), which are taken before statistics in every case.
        scheme: with formats for activations and weights.
        recipe: what was chosen; its repairs are in the model already.

    Raises:
        UsageError: unknown method, excluded node or clipped tensor, a percentile or clipped range
            that is none, or tensors without a range where there are no statistics.
        UnsupportedPrecision: the scheme has no integer activations, or has block-wise weights.
        ModelError: the model is quantized already, the statistics are another model's or lack a
            tensor, or nothing in the model can be quantized.
        InternalError: the result breaks the scheme.
    """
    activation, weight = _formats(scheme)
    known = known_ranges(model)
    statistics = statistics or Statistics({}, 0, model_hash(model), ())
    _check_arguments(model, statistics, recipe)
    work = ir.from_proto(ir.to_proto(model))
    common.ShapeInferencePass(check_type=True, strict_mode=False, data_prop=True)(work)
    name_nodes(work)
    gates = spell_out_silu(work)
    exclude = [*recipe.float_nodes]
    exclude += [gate for name, gate in gates.items() if name in recipe.float_nodes]
    masks = saturate_masks(work, statistics, scheme, exclude)
    masks |= {gate: _GATE for gate in gates.values() if gate not in known}
    residual = frozenset[str]() if known else residual_sums(work)
    scaled = scale_stretched_outputs(work, statistics, scheme, residual, exclude)
    masks |= scaled.ranges
    same = join_biases(work, exclude) if scheme.bias_required else {}
    composites = join(work, exclude) if scheme.whole_composites else Composites()
    placement = place(work, scheme, exclude, residual | scaled.undone)
    if not placement.names:
        raise ModelError(
            "nothing in the model can be quantized",
            why=f"{scheme.target} {scheme.precision} has no integer form for any of its operators",
            remedy="Choose a float precision.",
        )
    to_float_form(work, placement, scheme)
    ranges = _ranges(work, placement, statistics, recipe, activation, same, masks, known)
    placement = leave_masked_softmaxes(work, placement, ranges, activation)
    original = placement
    placement = loosen_costly_ties(work, placement, ranges, scheme)
    placement = requantize_conflicts(work, placement, ranges, scheme)
    parameters = assign_parameters(work, placement, ranges, scheme)
    plan = plan_activations(work, placement, parameters, scheme)
    steering = Steering(
        activation=activation,
        weight=weight,
        nodes=_walked_nodes(work, placement, plan.folded),
        mark=tuple(parameters),
        parameters=parameters,
        weights=weight_parameters(work, placement, parameters, weight, known, recipe.weights),
    )
    gone = plan.vanished | plan.fused
    given = Given(steering.parameters, steering.weights, frozenset(gone), ranges)
    remarks = known_findings(work, known, given, scheme, placement)
    saturate_weights(work, steering.weights, weight)
    promise = Promise(
        scheme,
        nodes=original.names - plan.folded.keys(),
        folded=_bounds_by_tensor(work, plan),
        fused=frozenset(plan.fused),
    )
    proto = insert_qdq(ir.to_proto(work), steering)
    result = finish(proto, model, fused=plan.fused, markers=placement.markers)
    result.opset_imports.update(work.opset_imports)  # an older one where a Swish is spelled out
    verify(result, promise)
    if composites:
        split(result, composites)
        infer_shapes(result)
    forget_known_ranges(result)
    stored = {name: real for name, real in ranges.items() if name in parameters.keys() - gone}
    told = range_findings(statistics.tensors, stored) if activation.dtype in _EIGHT_BITS else ()
    return Quantized(result, (*placement.findings, *scaled.findings, *remarks, *told))


def _formats(scheme: Scheme) -> tuple[NumberFormat, NumberFormat]:
    """The formats of activations and weights, where this stage can make them."""
    activation, weight = scheme.activation, scheme.weight
    if activation is None or weight is None:
        raise UnsupportedPrecision(
            f"{scheme.target} {scheme.precision} has no integer activations",
            remedy="Quantize for a precision such as w8a8.",
        )
    if {activation.dtype, weight.dtype} - set(INTEGER_TYPES) or weight.granularity == "per_block":
        raise UnsupportedPrecision(
            f"{scheme.target} {scheme.precision} cannot be reached by calibration",
            why="weights and activations must have 8 or 16 bits, and no blocks",
        )
    return activation, weight


def _check_arguments(model: ir.Model, statistics: Statistics, recipe: Recipe) -> None:
    if not 0.0 < recipe.percentile <= 100.0:
        raise UsageError(f"the percentile must be above 0 and at most 100, not {recipe.percentile}")
    if recipe.weights not in WEIGHT_METHODS:
        raise UsageError(
            f"unknown method for weights '{recipe.weights}'",
            remedy=f"Choose one of {', '.join(WEIGHT_METHODS)}.",
        )
    if is_quantized_model(model):
        raise ModelError("the model is quantized already", remedy="Start from the float model.")
    _check_clipped(model, recipe)
    statistics.check_model(model)


def _check_clipped(model: ir.Model, recipe: Recipe) -> None:
    known = {value.name for value in model.graph.inputs}
    known |= {value.name for node in model.graph for value in node.outputs}
    for name, (low, high) in recipe.clipped.items():
        if name not in known:
            raise UsageError(f"the model has no tensor '{name}' whose range could be clipped")
        if not (math.isfinite(low) and math.isfinite(high) and low <= high):
            raise UsageError(f"the range of '{name}' must be two finite numbers, not {low}..{high}")


def _ranges(
    model: ir.Model,
    placement: Placement,
    statistics: Statistics,
    recipe: Recipe,
    number: NumberFormat,
    same: Mapping[str, str],
    masks: Mapping[str, Range],
    known: Known,
) -> dict[str, Range]:
    """The range of every activation of the placed nodes; of constants, exactly their own.

    `same` names observed tensors for those that hold the same elements; `masks` has ranges that
    take the place of what was observed (masks, and gates of SiLU that nothing is known of), `known`
    what the model's source chose, which is taken before the recipe's clipped ranges, and these
    before statistics.
    """
    choose = range_method(recipe.method)
    ranges = {name: known_range(found) for name, found in known.items()}
    for node in model.graph:
        for value in activations(node) if node in placement else ():
            name, array = value.name or "", constant(value)
            observed = same.get(name, name)
            if array is not None:
                if name not in known or not on_grid(array, known[name]):
                    extent = (float(array.min()), float(array.max())) if array.size else (0.0, 0.0)
                    ranges[name] = Range.around_zero(*extent)
            elif observed in masks:
                ranges[name] = masks[observed]
            elif observed in known:
                ranges[name] = known_range(known[observed])
    missing = missing_activations(model, placement, ranges)
    derive_ranges(model, missing if known else (), ranges, exactly=True)
    for name in missing:
        observed = same.get(name, name)
        if name not in ranges and observed in recipe.clipped:
            ranges[name] = Range.around_zero(*recipe.clipped[observed])
        elif name not in ranges and observed in statistics.tensors:
            ranges[name] = choose(statistics.tensors[observed], recipe.percentile, number)
    if known:
        left = missing_activations(model, placement, ranges)
        derive_ranges(model, left, ranges, exactly=False)
    missing = missing_activations(model, placement, ranges)
    if missing:
        raise _without_range(missing, statistics, known)
    return ranges


def _without_range(missing: list[str], statistics: Statistics, known: Known) -> EdgewiseError:
    names = ", ".join(f"'{name}'" for name in missing[:_NAMED])
    more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
    if not statistics.samples:
        return UsageError(
            "calibration data is missing",
            why=f"the model's source has no scales of {len(missing)} tensors that the target "
            f"quantizes: {names}{more}",
            remedy="Give data with --calibration, or statistics from `edgewise calibrate`.",
        )
    return ModelError(
        f"the statistics lack tensor {names}{more}",
        why="what is quantized needs a range",
        remedy="Calibrate again, observing every tensor.",
    )


def _walked_nodes(
    model: ir.Model, placement: Placement, folded: Collection[str]
) -> tuple[str, ...]:
    """The placed nodes, without the Relu and Clip nodes that stay: these are marked instead."""
    return tuple(
        node.name or ""
        for node in model.graph
        if node in placement and (node.op_type not in ("Relu", "Clip") or node.name in folded)
    )


def _bounds_by_tensor(model: ir.Model, plan: ActivationPlan) -> dict[str, Bounds]:
    """The tensors whose quantized range stands for folded activations."""
    outputs = {node.name or "": node.outputs[0].name or "" for node in model.graph}
    bounds = {outputs[name]: limits for name, limits in plan.folded.items()}
    return {name: limits for name, limits in bounds.items() if name not in plan.vanished}
