"""Pools whose last window lies in the padding: shapes are those of the specification, and so is
what is computed from them."""

from __future__ import annotations

import numpy as np
import onnx.parser
import onnx_ir as ir
import pytest

from edgewise import graph

#: size, kernel, strides, padding at the end, ceil_mode that is left, padding that is left
CASES = {
    "switched off": ((5, 5), (2, 2), (3, 3), (1, 1), 0, (1, 1)),
    "shortened": ((5, 5), (2, 2), (3, 2), (1, 0), 1, (0, 0)),
    "not concerned": ((7, 5), (2, 2), (3, 2), (1, 0), 1, (1, 0)),
}


@pytest.mark.parametrize("op_type", ["MaxPool", "AveragePool", "LpPool"])
@pytest.mark.parametrize("case", CASES)
def test_empty_windows_are_dropped(op_type: str, case: str) -> None:
    size, kernel, strides, end, ceil_mode, left = CASES[case]
    source = ir.from_proto(
        onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["": 21]>
        g (float[1, 2, {size[0]}, {size[1]}] x) => (float[k] y, int64[4] s)
        <int64[1] all = {{-1}}>
        {{
          p = {op_type} <kernel_shape = [{kernel[0]}, {kernel[1]}], ceil_mode = 1,
               strides = [{strides[0]}, {strides[1]}], pads = [0, 0, {end[0]}, {end[1]}]> (x)
          s = Shape(p)
          y = Reshape(p, all)
        }}
        """)
    )
    prepared = graph.prepare(source)
    pool = next(node for node in prepared.graph if node.op_type == op_type)
    assert graph.attribute(pool, "ceil_mode") == ceil_mode
    assert tuple(graph.attribute(pool, "pads")[2:]) == left
    x = {"x": np.random.default_rng(0).standard_normal((1, 2, *size)).astype(np.float32)}
    wanted, found = (graph.OrtSession(model).run(x) for model in (source, prepared))
    np.testing.assert_array_equal(found["y"], wanted["y"])
    np.testing.assert_array_equal(found["s"], wanted["s"])
    assert graph.static_shape(prepared.graph.outputs[0]) == wanted["y"].shape


def test_a_chain_of_pools_settles() -> None:
    pool = "MaxPool <kernel_shape = [2], strides = [3], pads = [0, 1], ceil_mode = 1>"
    source = ir.from_proto(
        onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["": 21]>
        g (float[1, 2, 32] x) => (float[1, 2, n] y)
        {{ a = {pool} (x)  b = {pool} (a)  y = {pool} (b) }}
        """)
    )
    x = {"x": np.arange(64, dtype=np.float32).reshape(1, 2, 32)}
    wanted = graph.OrtSession(source).run(x)["y"]
    assert graph.static_shape(graph.prepare(source).graph.outputs[0]) == wanted.shape
