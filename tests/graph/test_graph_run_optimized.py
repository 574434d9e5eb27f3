"""Sessions that optimize: what ONNX Runtime makes of int8 MatMul and Add of three axes."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir

from edgewise.graph import OrtSession

_TEXT = """<ir_version: 10, opset_import: ["": 21]>
g (float[1,4,8] x) => (float[1,4,8] y)
<float s = {0.1}, int8 zero = {0}, float sw = {0.02}>
{
  xq = QuantizeLinear(x, s, zero)
  xd = DequantizeLinear(xq, s, zero)
  wd = DequantizeLinear(w, sw, zero)
  m = MatMul(xd, wd)
  a = Add(m, b)
  aq = QuantizeLinear(a, s, zero)
  y = DequantizeLinear(aq, s, zero)
}"""


def test_symmetric_matmul_and_add_of_three_axes_can_be_optimized() -> None:
    rng = np.random.default_rng(0)
    proto = onnx.parser.parse_model(_TEXT)
    weights = rng.integers(-127, 128, (8, 8)).astype(np.int8)
    for name, array in (("w", weights), ("b", np.ones(8, np.float32))):
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    model = ir.from_proto(proto)
    feeds = {"x": rng.standard_normal((1, 4, 8), np.float32)}
    plain, fused = (OrtSession(model, optimize=level).run(feeds)["y"] for level in ("none", "all"))
    assert np.abs(plain - fused).max() <= 0.1 + 1e-6  # one step
    assert np.unique(fused).size > 8
