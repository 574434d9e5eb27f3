"""Sessions that optimize: what ONNX Runtime makes of int8 MatMul and Add of three axes."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from edgewise.graph import OrtSession
from edgewise.targets.validation import comparison

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


def _model(source: str = "m") -> ir.Model:
    """`source` is what the sum adds to the bias: of "x" there is no product to optimize."""
    rng = np.random.default_rng(0)
    proto = onnx.parser.parse_model(_TEXT.replace("Add(m,", f"Add({source},"))
    weights = rng.integers(-127, 128, (8, 8)).astype(np.int8)
    for name, array in (("w", weights), ("b", np.ones(8, np.float32))):
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return ir.from_proto(proto)


def test_symmetric_matmul_and_add_of_three_axes_can_be_optimized() -> None:
    rng, model = np.random.default_rng(0), _model()
    feeds = {"x": rng.standard_normal((1, 4, 8), np.float32)}
    literal, optimized = OrtSession(model), OrtSession(model, optimize="all")
    plain, fused = (session.run(feeds)["y"] for session in (literal, optimized))
    assert (literal.switched_off, optimized.switched_off) == ((), ("QDQPropagationTransformer",))
    assert np.abs(plain - fused).max() <= 0.1 + 1e-6  # one step
    assert np.unique(fused).size > 8


def test_what_was_switched_off_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "read_host_cpu", lambda: SimpleNamespace(saturates=False))
    compared = comparison.Comparison(_model(), 1, comparison.EquivalenceLimit())
    (finding,) = compared.findings
    assert finding.rule == "validation/noise-floor" and "QDQPropagation" in finding.message
    other = comparison.Comparison(_model("x"), 1, comparison.EquivalenceLimit())
    assert other.findings == ()
