"""Fourier transforms written as products with constant matrices."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

SCALARS = {"axis": np.int64, "length": np.int64}


@pytest.mark.parametrize(
    ("shape", "axis", "length", "inverse", "onesided"),
    [
        ((2, 8, 1), -2, None, 0, 0),
        ((2, 8, 2), -2, None, 0, 0),
        ((2, 9, 2), 1, None, 1, 0),
        ((3, 8, 5, 2), 1, None, 0, 0),
        ((3, 8, 5, 2), 0, None, 1, 0),
        ((3, 8, 5, 1), 1, None, 0, 1),
        ((2, 9, 1), 1, None, 0, 1),
        ((2, 8, 1), 1, 6, 0, 1),
        ((2, 8, 1), 1, 13, 0, 0),
        ((2, 8, 2), 1, 5, 1, 0),
        ((2, 5, 2), 1, None, 1, 1),
        ((2, 5, 2), 1, 9, 1, 1),
        ((2, 5, 2), 1, 6, 1, 1),
        ((2, 5, 2), 1, 14, 1, 1),
        ((7, 1), 0, None, 0, 1),
    ],
)
def test_dft(rewritten, rng, shape, axis, length, inverse, onesided):
    x = rng.standard_normal(shape).astype(np.float32)
    inputs = [x, None if length is None else np.array(length), np.array(axis)]
    constants = [i for i in (1, 2) if inputs[i] is not None]
    result = rewritten(
        "DFT", inputs, constants=constants, inverse=inverse, onesided=onesided, opset=20
    )
    assert "DFT" not in result.ops and result.ops.count("MatMul") == 1
    assert result.error < 1e-5


def test_dft_with_an_axis_attribute(rewritten, rng):
    x = rng.standard_normal((3, 8, 5, 1)).astype(np.float32)
    result = rewritten("DFT", [x], axis=2, opset=17)
    assert "DFT" not in result.ops
    assert result.error < 1e-5


@pytest.mark.parametrize(
    ("step", "length", "onesided", "parts", "window"),
    [
        (*case, window)
        for case, window in product(
            [
                (4, 16, 1, 1),
                (5, 16, 1, 1),
                (3, 7, 0, 1),
                (16, 16, 1, 1),
                (20, 7, 1, 1),
                (4, 8, 0, 2),
            ],
            (True, False),
        )
    ],
)
def test_stft(rewritten, rng, step, length, onesided, parts, window):
    x = rng.standard_normal((2, 61, parts)).astype(np.float32)
    weights = rng.random(length).astype(np.float32) if window else None
    inputs = [x, np.array(step), weights, np.array(length)]
    constants = [i for i in (1, 2, 3) if inputs[i] is not None]
    result = rewritten("STFT", inputs, constants=constants, onesided=onesided)
    assert "STFT" not in result.ops and result.ops.count("Conv") == 1
    assert result.error < 2e-5


def test_stft_whose_blocks_end_beyond_the_signal(rewritten, rng):
    x = rng.standard_normal((1, 32, 1)).astype(np.float32)
    result = rewritten("STFT", [x, np.array(5), None, np.array(12)], constants=[1, 3])
    assert "Pad" in result.ops
    assert result.error < 1e-5


def test_a_step_that_is_computed_is_declined(single):
    import onnx_ir as ir

    from edgewise.graph.expand import expand

    x = np.zeros((1, 32, 1), np.float32)
    model = ir.from_proto(single("STFT", [x, np.array(4), None, np.array(8)], constants=[3]))
    (reason,) = expand(model, lambda node: True).values()
    assert "step must be constant" in reason.why


def test_a_huge_transform_is_declined(single):
    import onnx_ir as ir

    from edgewise.graph.expand import expand

    model = ir.from_proto(single("DFT", [np.zeros((1, 4096, 2), np.float32)]))
    (reason,) = expand(model, lambda node: True).values()
    assert "too large" in reason.why


@pytest.mark.parametrize("op_type", ["HannWindow", "HammingWindow", "BlackmanWindow"])
@pytest.mark.parametrize("periodic", [0, 1])
def test_a_window_of_known_size_is_a_constant(rewritten, op_type, periodic):
    result = rewritten(op_type, [np.array(10)], constants=[0], periodic=periodic)
    assert set(result.ops) <= {"Identity"}
    assert result.error < 1e-6


def test_mel_weights_are_a_constant(rewritten):
    numbers = [np.array(n) for n in (8, 16, 8192)] + [np.float32(0), np.float32(4096)]
    result = rewritten("MelWeightMatrix", numbers, constants=range(5))
    assert set(result.ops) <= {"Identity"}
    assert result.error < 1e-6
