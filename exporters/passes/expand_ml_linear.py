"""The linear operators of domain `ai.onnx.ml` become standard ones, which all targets know.

    Scaler            (x - offset) * scale
    LinearRegressor   x coefficients^T + intercepts
    LinearClassifier  s = x coefficients^T + intercepts; scores = softmax(s), 1 / (1 + e^-s) or s;
                      label = labels[argmax s]
    Normalizer        L1: x / sum |x|, L2: x / sqrt(sum x^2), along the last axis; zeros stay. Gone
                      after what sums to 1 already: a softmax, or the sigmoids of s and -s
    ArrayFeatureExtractor  data[..., indices]: Gather; a vector counts as a matrix of one row

Left alone: a classifier of two classes and one score (what its label means is not written down),
labels that are texts, PROBIT, SOFTMAX_ZERO, Normalizer MAX, and inputs that are not float32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from edgewise.exporters.passes.base import Array, Declined, PassOutcome
from edgewise.graph import add_initializer, attribute, constant, node_label

_DOMAIN = "ai.onnx.ml"
_SCORES = {"NONE": None, "SOFTMAX": "Softmax", "LOGISTIC": "Sigmoid"}


class _LeftAlone(Exception):
    """The text is the reason."""


class _Writer:
    """New nodes in the place of one, which they are named after."""

    def __init__(self, graph: ir.Graph, node: ir.Node) -> None:
        self._graph, self.node, self.label = graph, node, node_label(node)
        self.nodes: list[ir.Node] = []

    def constant(self, name: str, array: Array) -> ir.Value:
        return add_initializer(self._graph, f"{self.label}_{name}", array)

    def add(self, op_type: str, inputs: Sequence[ir.Value | None], **attributes: Any) -> ir.Value:
        name = self.label if not self.nodes else f"{self.label}_{op_type}"
        made = [ir.convenience.convert_attribute(key, value) for key, value in attributes.items()]
        self.nodes.append(ir.Node("", op_type, inputs, made, num_outputs=1, name=name))
        return self.nodes[-1].outputs[0]


def expand_ml_linear(model: ir.Model) -> PassOutcome:
    """Rewrite every node that is described above."""
    modified, declined = False, []
    for node in list(model.graph):
        expand = _EXPANSIONS.get(node.op_type) if node.domain == _DOMAIN else None
        if expand is None:
            continue
        writer = _Writer(model.graph, node)
        try:
            results = expand(writer)
        except _LeftAlone as reason:
            declined.append(Declined(node_label(node), str(reason)))
            continue
        _put(model.graph, node, writer.nodes, results)
        modified = True
    return PassOutcome(model, modified, tuple(declined))


def _put(
    graph: ir.Graph, node: ir.Node, new: list[ir.Node], results: Sequence[ir.Value | None]
) -> None:
    pairs = [
        (old, made)
        for old, made in zip(node.outputs, results, strict=True)
        if made is not None and (old.uses() or old.is_graph_output())
    ]
    ir.convenience.replace_nodes_and_values(
        graph, node, [node], new, [old for old, _ in pairs], [made for _, made in pairs]
    )


def _scaler(writer: _Writer) -> list[ir.Value | None]:
    x = _input(writer)
    offset, scale = (_floats(writer.node, name) for name in ("offset", "scale"))
    centred = writer.add("Sub", [x, writer.constant("offset", offset)])
    return [writer.add("Mul", [centred, writer.constant("scale", scale)])]


def _regressor(writer: _Writer) -> list[ir.Value | None]:
    node = writer.node
    if attribute(node, "post_transform", "NONE") != "NONE":
        raise _LeftAlone(f"post_transform {attribute(node, 'post_transform')}")
    return [_scores(writer, int(attribute(node, "targets", 1)))]


def _classifier(writer: _Writer) -> list[ir.Value | None]:
    node = writer.node
    classes = attribute(node, "classlabels_ints")
    count = len(_floats(node, "intercepts"))
    if classes is None:
        raise _LeftAlone("its labels are texts")
    if len(classes) != count:
        raise _LeftAlone(f"it has {len(classes)} classes and {count} scores")
    transform = attribute(node, "post_transform", "NONE")
    if transform not in _SCORES:
        raise _LeftAlone(f"post_transform {transform}")
    raw = _scores(writer, count)
    function = _SCORES[transform]
    attributes = {"axis": -1} if function == "Softmax" else {}
    scores = writer.add(function, [raw], **attributes) if function else raw
    best = writer.add("ArgMax", [raw], axis=-1, keepdims=0)
    if list(classes) != list(range(count)):
        table = writer.constant("classes", np.asarray(classes, np.int64))
        best = writer.add("Gather", [table, best], axis=0)
    return [best, scores]


def _scores(writer: _Writer, count: int) -> ir.Value:
    coefficients = _floats(writer.node, "coefficients").reshape(count, -1)
    intercepts = _floats(writer.node, "intercepts", np.zeros(count, np.float32))
    weights = writer.constant("coefficients", np.ascontiguousarray(coefficients.T))
    return writer.add("Gemm", [_input(writer), weights, writer.constant("intercepts", intercepts)])


def _normalizer(writer: _Writer) -> list[ir.Value | None]:
    x = _input(writer)
    norm = attribute(writer.node, "norm", "MAX")
    if norm not in ("L1", "L2"):
        raise _LeftAlone(f"norm {norm}")
    if norm == "L1" and _sums_to_one(x):
        return [writer.add("Identity", [x])]
    axes = writer.constant("axes", np.asarray([-1], np.int64))
    total = writer.add(f"Reduce{norm}", [x, axes], keepdims=1)
    least = writer.constant("least", np.asarray(np.finfo(np.float32).tiny, np.float32))
    return [writer.add("Div", [x, writer.add("Max", [total, least])])]


def _sums_to_one(x: ir.Value) -> bool:
    """Whether x is a softmax, or 1 / (1 + e^-s) of scores that are s and -s."""
    node = x.producer()
    if node is None or node.op_type not in ("Softmax", "Sigmoid"):
        return False
    if node.op_type == "Softmax":
        return attribute(node, "axis", -1) in (-1, 1)
    scores = node.inputs[0]
    product = None if scores is None else scores.producer()
    if product is None or product.op_type != "Gemm":
        return False
    found = [constant(value) for value in product.inputs[1:]]
    return len(found) == 2 and all(
        array is not None and array.shape[-1] == 2 and np.array_equal(array[..., 0], -array[..., 1])
        for array in found
    )


def _extractor(writer: _Writer) -> list[ir.Value | None]:
    data, indices = writer.node.inputs
    if data is None or indices is None or data.shape is None:
        raise _LeftAlone("the rank of its data is not known")
    array = constant(data)
    if array is not None and array.ndim == 1 and array.dtype.kind in "iuf":
        table = writer.constant("data", array.reshape(1, -1))
    elif len(data.shape) == 2 and data.dtype != ir.DataType.STRING:
        table = data
    else:
        raise _LeftAlone("its data are no constant vector and no matrix of numbers")
    flat = writer.add("Reshape", [indices, writer.constant("flat", np.asarray([-1], np.int64))])
    return [writer.add("Gather", [table, flat], axis=1)]


def _input(writer: _Writer) -> ir.Value:
    x = writer.node.inputs[0]
    if x is None or x.dtype != ir.DataType.FLOAT:
        raise _LeftAlone("its input is not float32")
    return x


def _floats(node: ir.Node, name: str, default: Array | None = None) -> Array:
    found = attribute(node, name)
    if found is None:
        if default is None:
            raise _LeftAlone(f"it has no {name}")
        return default
    return np.asarray(found, np.float32)


_EXPANSIONS: dict[str, Callable[[_Writer], list[ir.Value | None]]] = {
    "ArrayFeatureExtractor": _extractor,
    "LinearClassifier": _classifier,
    "LinearRegressor": _regressor,
    "Normalizer": _normalizer,
    "Scaler": _scaler,
}
