"""Tensors without negative values: int8 from -128 in the QDQ model, uint8 from 0 in the package."""

import numpy as np
import onnx_ir as ir
import pytest

from edgewise.calibration.parameters import affine_parameters
from edgewise.calibration.ranges import Range
from edgewise.graph import OrtSession, quantization_of
from edgewise.targets.apple.scheme import W8A8
from edgewise.targets.apple.unsigned_pairs import as_stored, store_unsigned

OPSET = 21


def pair(zero, *, other=None, output=False):
    """x -> Q -> DQ -> y, where the DQ may have another zero point, or the integers are an output
    too."""
    graph = ir.from_onnx_text(
        f"""
        <ir_version: 10, opset_import: ["" : {OPSET}]>
        pairs (float[2,3] x) => (float[2,3] y{", int8[2,3] q" if output else ""})
        <float s = {{0.5}}, int8 z = {{{zero}}}, int8 w = {{{zero if other is None else other}}}>
        {{ q = QuantizeLinear (x, s, z)
           y = DequantizeLinear (q, s, w) }}
        """
    )
    return graph


def test_what_counts_from_the_least_integer_counts_from_zero_and_stands_for_the_same():
    model = pair(-128)
    before = OrtSession(model).run({"x": VALUES})["y"]
    assert store_unsigned(model) == 1
    for node in model.graph:
        assert quantization_of(node).zero_point.dtype == np.uint8
        assert quantization_of(node).zero_point == 0
    np.testing.assert_array_equal(OrtSession(model).run({"x": VALUES})["y"], before)


VALUES = np.array([[-3, 0.2, 0.25], [0.8, 100, 127.6]], np.float32)


@pytest.mark.parametrize("model", [pair(0), pair(-127), pair(-128, output=True)])
def test_other_pairs_stay(model):
    assert store_unsigned(model) == 0


def test_a_tensor_without_negative_values_gets_all_integers_and_any_other_is_symmetric():
    positive = affine_parameters(Range(0.0, 5.1), W8A8.activation)
    assert positive.zero_point == -128
    assert positive.scale == pytest.approx(5.1 / 255, rel=1e-3)
    signed = affine_parameters(Range(-0.1, 5.1), W8A8.activation)
    assert signed.zero_point == 0
    assert signed.scale == pytest.approx(5.1 / 127, rel=1e-3)


def test_layers_are_compared_in_the_package_s_own_integers():
    every = np.arange(-128, 128, dtype=np.int8)
    stored = as_stored(every, np.dtype(np.uint8))
    assert stored.dtype == np.uint8
    np.testing.assert_array_equal(stored, np.arange(256))
    assert as_stored(every, np.dtype(np.int8)) is every
    signed = every.astype(np.float32)
    assert as_stored(signed, np.dtype(np.float16)) is signed
