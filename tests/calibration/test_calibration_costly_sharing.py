"""Concatenation shares a scale where that is cheap, and requantizes where it costs bits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewise.calibration import Scheme
from edgewise.calibration.union_find import UnionFind
from edgewise.graph import quantization_of

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"


def branches(net: type, factor: float, *, read: bool, through: str = "") -> ir.Model:
    """Two branches of which the second is `factor` times as wide, joined; with `read`, another
    operator reads the narrow one, too."""
    builder: Any = net()
    x = builder.input("x", 1, 4, 6, 6)
    narrow = builder.op("Mul", x, builder.const(np.float32(0.5)), name="narrow")
    wide = builder.op("Mul", x, builder.const(np.float32(0.5 * factor)), name="wide")
    tail = narrow
    if through == "Slice":
        ints = [builder.const(np.array([n], np.int64)) for n in (1, 4, 1)]
        tail = builder.op("Slice", narrow, *ints, name="tail")
    if through == "MaxPool":
        tail = builder.op("MaxPool", narrow, name="tail", kernel_shape=[1, 1])
    joined = builder.op("Concat", tail, wide, axis=1, name="joined")
    outputs = [builder.conv(joined, 8 if through != "Slice" else 7, 4, name="out")]
    if read:
        outputs.append(builder.conv(narrow, 4, 4, name="side"))
    model: ir.Model = builder.model(*outputs)
    return model


def scales(model: ir.Model) -> dict[str, float]:
    """Scale of every quantized tensor by the name of the float tensor before its Q."""
    return {
        str(node.inputs[0].name): float(quantization_of(node).scale)
        for node in model.graph
        if node.op_type == QUANTIZE and node.inputs[0] is not None
    }


def requantized(model: ir.Model) -> int:
    """How many Q read a DQ."""
    return sum(
        node.op_type == QUANTIZE
        and node.inputs[0] is not None
        and (producer := node.inputs[0].producer()) is not None
        and producer.op_type == DEQUANTIZE
        for node in model.graph
    )


@pytest.mark.parametrize("through", ["", "Slice", "MaxPool"])
def test_a_narrow_tensor_that_is_read_keeps_its_scale(
    through: str, net: type, trial: Callable[..., Any], android: Scheme
) -> None:
    quantized = trial(branches(net, 8.0, read=True, through=through)).quantize(android)
    found = scales(quantized)
    assert requantized(quantized) == 1
    assert found["joined"] == found["wide"]
    assert found["wide"] == pytest.approx(8 * found["narrow"], rel=1e-5)


@pytest.mark.parametrize(
    ("factor", "read"), [(1.9, True), (8.0, False), (0.0, True)], ids=["cheap", "unread", "zeros"]
)
def test_sharing_that_costs_little_stays(
    factor: float, read: bool, net: type, trial: Callable[..., Any], android: Scheme
) -> None:
    quantized = trial(branches(net, factor, read=read)).quantize(android)
    found = scales(quantized)
    assert requantized(quantized) == 0
    assert found["narrow"] == found["wide"] == found["joined"]


def test_a_scheme_without_shared_concatenation_is_left_alone(
    net: type, trial: Callable[..., Any], schemes: Mapping[str, Scheme]
) -> None:
    attempt = trial(branches(net, 8.0, read=True))
    assert requantized(attempt.quantize(schemes["arm"])) == 0


def test_accuracy_of_a_chain_of_concatenations(
    net: type, trial: Callable[..., Any], android: Scheme, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each stage doubles the range; the first output suffers where all share one scale."""
    builder: Any = net(3)
    tensor = builder.input("x", 1, 2, 6, 6)
    outputs, channels = [], 2
    for stage in range(5):
        outputs.append(builder.conv(tensor, channels, 2, name=f"out_{stage}"))
        grown = builder.op("Mul", tensor, builder.const(np.float32(2.5)))
        tensor = builder.op("Concat", tensor, grown, axis=1)
        channels *= 2
    attempt = trial(builder.model(*outputs))
    loose = attempt.sqnr(attempt.quantize(android))
    first = scales(attempt.quantize(android))["x"]
    monkeypatch.setattr("edgewise.calibration.costly_sharing.WIDEST_SHARE", np.inf)
    assert first < scales(attempt.quantize(android))["x"] / 30
    assert loose >= attempt.sqnr(attempt.quantize(android)) - 0.5


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9))))
def test_union_find_is_the_closure_of_its_pairs(pairs: list[tuple[int, int]]) -> None:
    sets = UnionFind()
    closure = {i: {i} for i in range(10)}
    for one, two in pairs:
        assert sets.unite([str(one), str(two)]) == sets.find(str(two))
        merged = closure[one] | closure[two]
        closure |= dict.fromkeys(merged, merged)
    for one in range(10):
        together = {two for two in range(10) if sets.find(str(one)) == sets.find(str(two))}
        assert together == closure[one]
