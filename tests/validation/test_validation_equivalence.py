"""LSB, percentiles and agreement on outputs of known difference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewise.errors import InternalError
from edgewise.graph import load
from edgewise.targets.validation.equivalence import (
    EquivalenceMeter,
    equivalence_findings,
    limits,
    not_measured,
    output_bits,
    output_scales,
)
from edgewise.targets.validation.results import Equivalence, Layers, NoiseFloor

SCALE = float(np.float32(0.0471))


def dequantized(integers: object, zero_point: int = 0) -> np.ndarray:
    centred = np.asarray(integers, np.float32) - np.float32(zero_point)
    return centred * np.float32(SCALE)


def compare(expected: np.ndarray, actual: np.ndarray, scale: float | None = SCALE) -> Equivalence:
    meter = EquivalenceMeter({"y": scale})
    meter.observe({"y": expected}, {"y": actual})
    return meter.result()


@given(
    st.lists(st.tuples(st.integers(-128, 127), st.integers(-128, 127)), min_size=1, max_size=40),
    st.integers(-128, 127),
)
def test_lsb_is_the_difference_of_the_integers(pairs: list[tuple[int, int]], zero: int) -> None:
    first, second = np.array(pairs).T
    result = compare(dequantized(first, zero), dequantized(second, zero))
    differences = np.sort(np.abs(first - second))
    assert result.max_lsb == differences[-1]
    assert result.p99_lsb == differences[int(np.ceil(0.99 * len(pairs))) - 1]
    assert result.identical == (differences[-1] == 0)


def test_fraction_of_an_lsb_is_not_rounded_away() -> None:
    result = compare(dequantized([10]), dequantized([10]) + np.float32(0.4 * SCALE))
    assert result.max_lsb == pytest.approx(0.4, abs=1e-3)
    assert result.p99_lsb == 0


def test_p99_over_a_stream() -> None:
    meter = EquivalenceMeter({"y": SCALE})
    for index in range(1000):  # ten of a thousand are off by 3, one by 40
        off = 40 if index == 500 else 3 if index % 100 == 7 else 0
        meter.observe({"y": dequantized([index % 99])}, {"y": dequantized([index % 99 + off])})
    result = meter.result()
    assert (result.max_lsb, result.p99_lsb, result.samples) == (40, 3, 1000)


def test_sqnr_and_absolute_error() -> None:
    result = compare(np.array([3.0, 4.0]), np.array([3.0, 4.5]), None)
    assert result.max_abs_error == 0.5
    assert result.sqnr_db == pytest.approx(10 * np.log10(25 / 0.25))
    assert result.max_lsb is None
    assert result.reason == "no LSB for y: computed in float"


def test_identical_outputs() -> None:
    result = compare(dequantized([1, 2]), dequantized([1, 2]))
    assert result.identical
    assert (result.max_lsb, result.p99_lsb, result.sqnr_db, result.reason) == (0, 0, None, None)


def test_argmax_over_rows() -> None:
    expected = np.array([[1.0, 2.0], [2.0, 1.0], [0.0, 5.0], [1.0, 0.0]])
    actual = expected.copy()
    actual[0] = actual[0][::-1]
    assert compare(expected, actual).argmax_agreement == 0.75
    assert compare(np.ones((4, 1)), np.ones((4, 1))).argmax_agreement is None


@pytest.mark.parametrize(
    ("shape", "agreement"),
    [((5,), 1), ((2, 5), 1), ((1, 3, 5), 1), ((1, 1, 1, 5), 1), ((1, 8, 4, 4), None)],
)
def test_argmax_is_of_class_scores_only(shape: tuple[int, ...], agreement: float | None) -> None:
    assert compare(np.ones(shape), np.ones(shape)).argmax_agreement == agreement


def test_second_output_counts_for_lsb_not_for_argmax() -> None:
    meter = EquivalenceMeter({"y": SCALE, "z": 1.0})
    meter.observe(
        {"y": dequantized([1, 2]), "z": np.array([1.0, 2.0])},
        {"y": dequantized([1, 2]), "z": np.array([9.0, 2.0])},
    )
    result = meter.result()
    assert (result.max_lsb, result.argmax_agreement) == (8, 1)


def test_not_finite_is_an_error_not_a_figure() -> None:
    result = compare(np.array([1.0, 2.0]), np.array([1.0, np.nan]))
    assert result.max_lsb is None and result.max_abs_error is None
    (finding,) = equivalence_findings(result)
    assert finding.severity == "error"
    assert "NaN or infinity in y" in finding.message


def test_same_infinity_on_both_sides_is_equal() -> None:
    assert compare(np.array([1.0, -np.inf]), np.array([1.0, -np.inf]), None).identical


def test_wrong_shape_or_name_is_a_defect() -> None:
    with pytest.raises(InternalError, match="shape"):
        compare(np.zeros((1, 4)), np.zeros(4))
    with pytest.raises(InternalError, match="no output 'y'"):
        EquivalenceMeter({"y": 1.0}).observe({"y": np.zeros(1)}, {})


def test_without_data() -> None:
    result = EquivalenceMeter({"y": 1.0}).result()
    assert result == not_measured("there is no data")
    assert equivalence_findings(result) == []


@pytest.mark.parametrize(
    ("off", "misses"), [(0, []), (2, []), (3, ["3 LSB"]), (100, ["100 LSB", "argmax"])]
)
def test_gate(off: int, misses: list[str]) -> None:
    expected, actual = dequantized([[0, 50]]), dequantized([[off, 50]])
    findings = equivalence_findings(compare(expected, actual))
    assert len(findings) == bool(misses)
    assert all(text in findings[0].message for text in misses)
    assert all(finding.severity == "warning" for finding in findings)


@pytest.mark.parametrize(
    ("floor", "expected"),
    [
        (None, (2.0, 0.995)),
        (NoiseFloor(None, None, None, 0, "saturates"), (2.0, 0.995)),
        (NoiseFloor(0.0, 0.0, 1.0, 9), (2.0, 0.995)),
        (NoiseFloor(3.0, 2.0, 0.99, 9), (6.0, 0.98)),
        (NoiseFloor(1.0, 0.0, None, 9), (2.0, 0.995)),
    ],
)
def test_limits_follow_the_noise_floor(
    floor: NoiseFloor | None, expected: tuple[float, float]
) -> None:
    assert limits(floor, 1000) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("disagreeing", "samples", "misses"),
    [(1, 60, False), (2, 60, True), (1, 1, True), (1, 10, True), (5, 1000, False), (6, 1000, True)],
)
def test_one_example_among_many_is_no_evidence(
    disagreeing: int, samples: int, misses: bool
) -> None:
    agreement = (samples - disagreeing) / samples
    result = Equivalence(1.0, 0.0, agreement, 30.0, 0.1, False, samples)
    assert bool(equivalence_findings(result)) == misses


@pytest.mark.parametrize(("off", "misses"), [(6, False), (7, True)])
def test_gate_on_a_floor_of_three(off: int, misses: bool) -> None:
    meter = EquivalenceMeter({"y": SCALE})
    meter.observe({"y": dequantized([[0, 50]])}, {"y": dequantized([[off, 50]])})
    layers = Layers(1.0, 0.0, 0.001, 0, "conv", 12, 2)
    findings = equivalence_findings(meter.result(NoiseFloor(3.0, 1.0, 1.0, 1), layers))
    assert bool(findings) == misses
    if misses:
        assert "7 LSB (limit 6)" in findings[0].message
        assert "ONNX Runtime differs from itself by 3 LSB, and every single layer is within" in (
            findings[0].message
        )


@pytest.mark.parametrize(("off", "misses"), [(64, False), (65, True)])
def test_steps_of_16_bits_are_smaller(off: int, misses: bool) -> None:
    meter = EquivalenceMeter({"y": SCALE}, bits=16)
    meter.observe({"y": dequantized([[0, 500]])}, {"y": dequantized([[off, 500]])})
    findings = equivalence_findings(meter.result())
    assert bool(findings) == misses
    if misses:
        assert "65 LSB (limit 64)" in findings[0].message
    assert limits(NoiseFloor(100.0, 2.0, 1.0, 9), 1000, 16)[0] == 200


def test_bits_are_read_from_the_model(classifier: tuple[Path, Path]) -> None:
    assert output_bits(load(classifier[1])) == 8
    assert output_bits(load(classifier[0])) is None


def test_scale_is_read_from_the_model(classifier: tuple[Path, Path]) -> None:
    assert output_scales(load(classifier[1])) == {"y": pytest.approx(0.1)}
    assert output_scales(load(classifier[0])) == {"y": None}


def test_scale_is_found_behind_a_reshape(classifier: tuple[Path, Path]) -> None:
    model = load(classifier[1])
    node = ir.node("Flatten", [model.graph.outputs[0]])
    node.outputs[0].name = "flat"
    model.graph.append(node)
    model.graph.outputs[0] = node.outputs[0]
    assert output_scales(model) == {"flat": pytest.approx(0.1)}
