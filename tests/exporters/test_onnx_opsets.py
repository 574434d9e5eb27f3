"""One network in the forms of each opset: an operator means what it meant in its own one.

1. Attributes that became inputs: Upsample (9), Slice and TopK (10), Pad and Clip (11), Dropout
   (12), Split, Squeeze, Unsqueeze and ReduceSum (13), ReduceMean (18).
2. Upsample that became Resize (10), with half-pixel coordinates by default from 11 on.
3. Softmax over all axes from 1 on, which is one over the last axis since 13.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgewise.exporters import export
from edgewise.graph import OrtSession

OPSETS = range(7, onnx.defs.onnx_opset_version() + 1)
SHAPE = (1, 3, 8, 8)


class Network:
    """Nodes in a row, each of which has the name of its result."""

    def __init__(self, opset: int) -> None:
        self.opset = opset
        self.rng = np.random.default_rng(0)
        self.constants: dict[str, np.ndarray] = {}
        self.nodes: list[onnx.NodeProto] = []

    def constant(self, name: str, array: Any) -> str:
        self.constants[name] = np.asarray(array)
        return name

    def number(self, name: str, shape: tuple[int, ...]) -> str:
        return self.constant(name, self.rng.normal(size=shape).astype(np.float32))

    def node(self, op_type: str, inputs: list[str], *outputs: str, **attributes: Any) -> str:
        node = helper.make_node(op_type, inputs, outputs, name=outputs[0], **attributes)
        self.nodes.append(node)
        return outputs[0]

    def told(
        self, since: int, op_type: str, inputs: list[str], *outputs: str, name: str, value: Any,
        **others: Any,
    ) -> str:  # fmt: skip
        """With what is an attribute `name` before opset `since`, and an input from it on."""
        if self.opset < since:
            return self.node(op_type, inputs, *outputs, **{name: value}, **others)
        dtype = np.float32 if isinstance(np.ravel(value)[0], float) else np.int64
        given = self.constant(f"{outputs[0]}_{name}", np.asarray(value, dtype))
        return self.node(op_type, [*inputs, given], *outputs, **others)

    def model(self) -> onnx.ModelProto:
        constants = [numpy_helper.from_array(array, k) for k, array in self.constants.items()]
        inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)]
        if self.opset < 9:  # initializers were inputs, too
            inputs += [
                helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in constants
            ]
        outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
        return helper.make_model(
            helper.make_graph(self.nodes, "g", inputs, outputs, constants),
            opset_imports=[helper.make_opsetid("", self.opset)],
            ir_version=3 if self.opset < 9 else 8,
        )


def network(opset: int) -> onnx.ModelProto:
    net, pads = Network(opset), [0, 0, 1, 2, 0, 0, 2, 1]
    if opset < 11:
        x = net.node("Pad", ["x"], "padded", pads=pads, value=0.5)
    else:
        half = net.constant("half", np.float32(0.5))
        x = net.node("Pad", ["x", net.constant("pads", np.int64(pads)), half], "padded")
    x = net.node("Conv", [x, net.number("w", (4, 3, 3, 3))], "convolved")
    statistics = [net.number(name, (4,)) for name in ("scale", "shift", "mean")]
    variance = net.constant("variance", np.float32([0.5, 1, 1.5, 2]))
    x = net.node("BatchNormalization", [x, *statistics, variance], "normalized")
    if opset < 11:
        x = net.node("Clip", [x], "clipped", min=-1.0, max=1.5)
    else:
        bounds = [net.constant(k, np.float32(v)) for k, v in (("low", -1), ("high", 1.5))]
        x = net.node("Clip", [x, *bounds], "clipped")
    x = net.told(12, "Dropout", [x], "kept", name="ratio", value=0.25)
    x = enlarged(net, x)
    x = sliced(net, x)
    net.told(10, "TopK", [x], "best", "places", name="k", value=[5] if opset >= 10 else 5, axis=3)
    net.told(13, "Split", ["best"], "first", "rest", name="split", value=[1, 3], axis=1)
    net.told(13, "ReduceSum", ["rest"], "total", name="axes", value=[1], keepdims=1)
    net.told(18, "ReduceMean", ["rest"], "average", name="axes", value=[1], keepdims=1)
    x = net.node("Mul", [net.node("Add", ["first", "total"], "added"), "average"], "multiplied")
    x = net.told(13, "Squeeze", [x], "squeezed", name="axes", value=[1])
    x = net.node("Softmax", [x], "shares")
    net.told(13, "Unsqueeze", [x], "y", name="axes", value=[0])
    return net.model()


def enlarged(net: Network, x: str) -> str:
    """Twice as high and wide, linearly."""
    scales = [1.0, 1.0, 2.0, 2.0]
    if net.opset < 9:
        return net.node("Upsample", [x], "enlarged", mode="linear", scales=scales)
    factors = net.constant("scales", np.float32(scales))
    if net.opset < 11:
        op_type = "Upsample" if net.opset < 10 else "Resize"
        return net.node(op_type, [x, factors], "enlarged", mode="linear")
    nothing = net.constant("roi", np.float32([]))
    return net.node("Resize", [x, nothing, factors], "enlarged", mode="linear")


def sliced(net: Network, x: str) -> str:
    starts, ends, axes = [0, 1], [4, 9], [1, 2]
    if net.opset < 10:
        return net.node("Slice", [x], "cut", starts=starts, ends=ends, axes=axes)
    bounds = {"starts": starts, "ends": ends, "axes": axes}
    given = [net.constant(name, np.int64(numbers)) for name, numbers in bounds.items()]
    return net.node("Slice", [x, *given], "cut")


@pytest.mark.parametrize("opset", OPSETS)
def test_each_operator_means_what_it_meant(opset: int) -> None:
    original = network(opset)
    result = export(original)
    assert result.parity.max_rel_error is not None and result.parity.max_rel_error < 1e-5
    assert result.model.opset_imports[""] == max(opset, 21)
    operators = [node.op_type for node in result.model.graph]
    assert "BatchNormalization" not in operators and "Dropout" not in operators
    feeds = {"x": np.random.default_rng(opset).normal(size=SHAPE).astype(np.float32)}
    expected = OrtSession(original.SerializeToString(), optimize="none").run(feeds)["y"]
    found = OrtSession(result.model).run(feeds)["y"]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    shared = (0, 2, 3) if opset < 13 else (3,)
    np.testing.assert_allclose(found.sum(axis=shared), 1.0, rtol=1e-5)  # case 3
