"""Any valid ONNX model brought to the one form that the stages understand."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx_ir as ir
import onnx_ir.passes.common as common

from edgewise.errors import ModelError, UsageError
from edgewise.graph.bodies import infer_loop_shapes, sink_constants
from edgewise.graph.ceil_mode import drop_empty_windows, has_ceil_mode
from edgewise.graph.empty import fix_empty_values
from edgewise.graph.fold import fold
from edgewise.graph.gaps import give_missing_shapes, repeat_group_parameters
from edgewise.graph.io import load
from edgewise.graph.old_meanings import (
    LAST_OLD_HARDMAX,
    LAST_OLD_RESIZE,
    flatten_for_hardmax,
    set_old_coordinates,
)
from edgewise.graph.old_scan import write_out_scans
from edgewise.graph.quantized import is_quantized_model
from edgewise.graph.read import constant
from edgewise.graph.weightless import call_without_weights, put_weights_back

#: opset of the hub model: per-channel DequantizeLinear, Gelu, HardSwish and int4 are all in it
HUB_OPSET = 21
_FIRST_SCAN_WITHOUT_BATCH = 9
#: operators that are constants where shapes are, whatever they read
_STARTS_OF_CONSTANTS = frozenset({"CastLike", "Constant", "Shape", "Size"})


def prepare(
    source: str | Path | ir.Model,
    *,
    input_shapes: Mapping[str, Sequence[int | str]] | None = None,
    batch: int | None = None,
    owned: bool = False,
) -> ir.Model:
    """A copy of the model with functions inlined, opset at least 21, constants folded into
    initializers, identities and dead nodes gone, and shapes inferred.

    Args:
        source: path or model (never changed unless `owned`).
        input_shapes: shape per input name; a name in it stands for a free dimension.
        batch: value for symbolic first dimensions; None keeps them symbolic.
        owned: the model is not needed any more, and may be changed instead of copied.

    Raises:
        UsageError: `input_shapes` names an unknown input, or does not fit its rank or the sizes
            that are fixed.
        ModelError: the model cannot be read, checked or upgraded.
    """
    loaded = load(source)
    needs_copy = loaded is source and not owned
    model = ir.from_proto(ir.to_proto(loaded)) if needs_copy else loaded
    fix_input_shapes(model, input_shapes or {}, batch)
    declared = [value.shape for value in model.graph.outputs]
    model.graph.name = (
        model.graph.name or "graph"
    )  # without, the checker refuses what is made of it
    common.InlinePass()(model)
    common.RemoveInitializersFromInputsPass()(model)
    model = _upgrade(model)
    if has_ceil_mode(model):
        _infer_shapes(model)  # before wrong shapes could be folded into constants
    settle(model)
    _keep_names_of_sizes(model, declared)
    return model


def _keep_names_of_sizes(model: ir.Model, declared: Sequence[ir.Shape | None]) -> None:
    """Of outputs, where inference knows nothing of a free size and makes one up."""
    for value, old in zip(model.graph.outputs, declared, strict=True):
        if old is not None and value.shape is not None and len(old) == len(value.shape):
            pairs = zip(old, value.shape, strict=True)
            value.shape = ir.Shape([a if str(b).startswith("unk__") else b for a, b in pairs])


def settle(model: ir.Model) -> None:
    """Fold constants, drop what is dead, name what is nameless, sort, and infer shapes, in place.

    For passes that add nodes to a prepared model: it brings the model back to the prepared form.
    """
    _simplify(model)
    left, before = _known_shapes(model), -1
    while left and left != before:  # they are constants now that they are inferred
        _simplify(model)
        left, before = _known_shapes(model), left
    if infer_loop_shapes(model, _infer_shapes):
        _simplify(model)  # with shapes inside of loops, which it could not know before
        infer_loop_shapes(model, _infer_shapes)
    if fix_empty_values(model):
        settle(model)


def _simplify(model: ir.Model) -> None:
    """All of `settle` but the shapes inside of loops."""
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    _fold(model)
    _drop_identities(model)
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    _shape_initializers(model)
    sink_constants(model)
    common.RemoveUnusedNodesPass()(model)
    _name_nodes(model)
    common.NameFixPass()(model)
    common.TopologicalSortPass()(model)
    _infer_shapes(model)


def _known_shapes(model: ir.Model) -> int:
    """How many Shape and Size nodes read a value of static shape."""
    shapes = [
        node.inputs[0].shape
        for node in model.graph.all_nodes()
        if node.op_type in ("Shape", "Size") and node.domain == "" and node.inputs[0] is not None
    ]
    return sum(shape is not None and shape.is_static() for shape in shapes)


def _shape_initializers(model: ir.Model) -> None:
    """A folded constant keeps the shape of the value that it was, which may have free sizes."""
    for graph in model.graphs():
        for value in graph.initializers.values():
            if value.const_value is not None:
                value.shape = ir.Shape(value.const_value.shape.numpy())


def _infer_shapes(model: ir.Model) -> None:
    infer = common.ShapeInferencePass(check_type=True, strict_mode=False, data_prop=True)
    infer(model)
    while drop_empty_windows(model):
        _forget_inferred_shapes(model)
        infer(model)
    while give_missing_shapes(model):
        infer(model)


def _name_nodes(model: ir.Model) -> None:
    """Give nameless nodes the name of what they compute, before any user's name could be taken."""
    taken = {node.name for node in model.graph.all_nodes()}
    for node in model.graph.all_nodes():
        if not node.name:
            stem = name = next((out.name for out in node.outputs if out.name), node.op_type)
            count = 2
            while name in taken:
                name, count = f"{stem}_{count}", count + 1
            taken.add(name)
            node.name = name


def fix_input_shapes(
    model: ir.Model, shapes: Mapping[str, Sequence[int | str]], batch: int | None
) -> None:
    """Give inputs other shapes, in place; see `prepare`. Raises UsageError."""
    inputs = {
        value.name: value
        for value in model.graph.inputs
        if value.name not in model.graph.initializers
    }
    for name, dims in shapes.items():
        if name not in inputs:
            known = ", ".join(sorted(str(n) for n in inputs))
            raise UsageError(f"the model has no input '{name}'", why=f"its inputs are {known}")
        old = inputs[name].shape
        if old is not None and len(old) != len(dims):
            raise UsageError(
                f"input '{name}' has rank {len(old)}", why=f"the given shape {list(dims)} does not"
            )
        _refuse_other_sizes(name, old, dims)
        inputs[name].shape = ir.Shape([d if isinstance(d, str) else int(d) for d in dims])
    if batch is not None:
        for value in inputs.values():
            if value.shape is not None and len(value.shape) and not isinstance(value.shape[0], int):
                value.shape = ir.Shape([batch, *list(value.shape)[1:]])
    if shapes or batch is not None:
        _forget_inferred_shapes(model)


def _refuse_other_sizes(name: str, own: ir.Shape | None, given: Sequence[int | str]) -> None:
    """Raises UsageError: a size is given in the place of another that is fixed."""
    for axis, (size, wanted) in enumerate(zip(own or (), given, strict=False)):
        if isinstance(size, int) and isinstance(wanted, int) and size != wanted:
            raise UsageError(
                f"input '{name}' has {size} at axis {axis}",
                why=f"the given shape {list(given)} has {wanted}, and the model wants "
                f"{[d if isinstance(d, int) else d.value or '?' for d in own or ()]}",
                remedy="Only dimensions that the model leaves free can be given a size.",
            )


def _forget_inferred_shapes(model: ir.Model) -> None:
    """Shapes stored for the old input shapes would contradict what inference finds now."""
    for node in model.graph.all_nodes():
        for value in node.outputs:
            value.shape = None


def _upgrade(model: ir.Model) -> ir.Model:
    version = model.opset_imports.get("", model.opset_imports.get("ai.onnx", 0))
    if version >= HUB_OPSET:
        return model
    if version < 7:
        raise ModelError(
            f"opset {version} is too old",
            why="opsets from 7 up can be upgraded",
            remedy="Export the model again with a newer opset.",
        )
    if version < _FIRST_SCAN_WITHOUT_BATCH and any(n.op_type == "Scan" for n in model.graph):
        _infer_shapes(model)
        write_out_scans(model)
    import onnx.version_converter

    if 18 <= version < 21:
        repeat_group_parameters(model)
    if version <= LAST_OLD_HARDMAX:
        flatten_for_hardmax(model)
    model.ir_version = max(model.ir_version or 0, 4)  # before, initializers had to be inputs too
    try:
        upgraded = ir.from_proto(
            call_without_weights(
                model, lambda proto: onnx.version_converter.convert_version(proto, HUB_OPSET)
            )
        )
    except Exception as error:  # the C++ converter raises RuntimeError and checker types
        raise ModelError(
            f"cannot upgrade from opset {version} to {HUB_OPSET}",
            # an assertion of the C++ code tells its place and its text before what it means
            why=re.sub(r".* failed: ", "", str(error).strip().splitlines()[0]),
            remedy="Export the model again with a newer opset.",
        ) from error
    put_weights_back(upgraded, model)
    if version <= LAST_OLD_RESIZE:
        set_old_coordinates(upgraded)
    upgraded.ir_version = max(upgraded.ir_version or 0, 10)
    return upgraded


def _drop_identities(model: ir.Model) -> None:
    """Let readers of a copy read the original; a copy that is an output gives it its name.

    onnx-ir's own pass loses an output name where two outputs are copies of one value.
    """
    for node in list(model.graph.all_nodes()):
        if node.op_type != "Identity" or node.domain != "":
            continue
        source, copy = node.inputs[0], node.outputs[0]
        maker = None if source is None else source.producer()
        if source is None or node.graph is None:
            continue
        if copy.is_graph_output():
            if maker is None or maker.graph is not node.graph or source.is_graph_output():
                continue
            source.name, copy.name = copy.name, None
        if source.shape is None:
            source.shape = copy.shape
        ir.convenience.replace_all_uses_with(copy, source, replace_graph_outputs=True)
        node.graph.remove(node, safe=True)


def _fold(model: ir.Model) -> None:
    if is_quantized_model(model) and not _has_constants_to_fold(model):
        return  # most QDQ models were folded as hub models, and the import takes 0.3 s
    fold(model)


def _has_constants_to_fold(model: ir.Model) -> bool:
    """Whether a node has constant inputs only (weights stay quantized), a body, or reads a shape.

    What else the folder simplifies starts from one of these.
    """
    return any(
        node.op_type in _STARTS_OF_CONSTANTS
        or any(
            a.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for a in _attributes(node)
        )
        or (
            node.op_type not in ("QuantizeLinear", "DequantizeLinear")
            and all(constant(value) is not None for value in node.inputs if value is not None)
        )
        for node in model.graph
    )


def _attributes(node: ir.Node) -> list[ir.Attr]:
    return [a for a in node.attributes.values() if isinstance(a, ir.Attr)]
