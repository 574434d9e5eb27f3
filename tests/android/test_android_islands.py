"""Float islands: one finding each, with its reason and cost, and one conversion at each shore."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from edgewise.findings import Finding
from edgewise.targets.android import TARGET
from edgewise.targets.android.islands import find_islands, products
from edgewise.targets.android.legalize import legalize
from edgewise.targets.android.lower import lower
from edgewise.targets.android.model import Graph

TOKENS, WIDTH = 6, 8


def island_findings(model: ir.Model) -> list[Finding]:
    return [finding for finding in TARGET.check(model) if finding.rule == "android/float-island"]


def graph_of(model: ir.Model) -> Graph:
    return lower(*legalize(model)).graph


@pytest.fixture
def calibrate(kit: Any, rng: np.random.Generator) -> Any:
    """(nodes, constants, shape) -> the QDQ model of nodes that go from x to y."""

    def run(nodes: list[Any], constants: dict[str, Any], shape: tuple[int, ...]) -> ir.Model:
        feeds = [{"x": rng.normal(0, 1, shape).astype(np.float32)} for _ in range(3)]
        model: ir.Model = kit.calibrated(
            kit.model(nodes, feeds[0], {"y": np.float32}, constants), feeds
        )
        return model

    return run


def test_normalization_between_products_is_one_island_with_one_conversion_at_each_shore(
    kit: Any, calibrate: Any, rng: np.random.Generator
) -> None:
    def weights(*shape: int) -> Any:
        return rng.normal(0, 0.3, shape).astype(np.float32)

    nodes = [
        kit.node("MatMul", ["x", "w1"], ["wide"]),
        kit.node("LayerNormalization", ["wide", "scale", "shift"], ["normal"], axis=-1),
        kit.node("MatMul", ["normal", "w2"], ["narrow"]),
        kit.node("Gelu", ["narrow"], ["bent"]),
        kit.node("MatMul", ["bent", "w3"], ["y"]),
    ]
    constants = {
        "w1": weights(WIDTH, 16), "scale": np.ones(16, np.float32), "shift": weights(16),
        "w2": weights(16, WIDTH), "w3": weights(WIDTH, WIDTH),
    }  # fmt: skip
    model = calibrate(nodes, constants, (1, TOKENS, WIDTH))
    (finding,) = island_findings(model)
    assert finding.node == "n_normal" and finding.severity == "warning"
    assert finding.message.startswith("LayerNormalization runs in float32: TFLite has no integer")
    assert "1 DEQUANTIZE, 1 QUANTIZE" in finding.message
    assert "multiply-adds" not in finding.message
    kinds = [operator.kind for operator in graph_of(model).operators]
    assert kinds.count("FULLY_CONNECTED") == 3 and kinds.count("GELU") == 1
    assert kinds.count("DEQUANTIZE") == kinds.count("QUANTIZE") == 1


def test_neighbours_are_one_island_named_by_its_ends(kit: Any, calibrate: Any) -> None:
    nodes = [
        kit.node("Mul", ["x", "half"], ["a"]),
        kit.node("Softplus", ["a"], ["b"]),
        kit.node("Softsign", ["b"], ["c"]),
        kit.node("Softplus", ["c"], ["d"]),
        kit.node("Mul", ["d", "half"], ["y"]),
    ]
    model = calibrate(nodes, {"half": np.float32(0.5)}, (1, 4))
    (finding,) = island_findings(model)
    assert finding.node == "n_b"
    assert finding.message.startswith("Softplus and 2 more run in float32, up to 'n_d': ")
    assert "Softplus, Softsign: TFLite has no integer kernel for it (" in finding.message
    assert "1 DEQUANTIZE, 1 QUANTIZE" in finding.message


def test_islands_apart_are_two(kit: Any, calibrate: Any) -> None:
    nodes = [
        kit.node("Sin", ["x"], ["a"]),
        kit.node("Add", ["a", "x"], ["b"]),
        kit.node("Sin", ["b"], ["c"]),
        kit.node("Add", ["c", "x"], ["y"]),
    ]
    model = calibrate(nodes, {}, (1, 4))
    assert [finding.node for finding in island_findings(model)] == ["n_a", "n_c"]
    one, two = find_islands(graph_of(model))
    assert [o.kind for o in one.operators] == [o.kind for o in two.operators] == ["SIN"]
    assert one.elements == two.elements == 4


def test_a_product_without_integer_kernel_tells_its_share(
    kit: Any, rng: np.random.Generator
) -> None:
    """A convolution whose scales are out of range, beside nothing else that multiplies."""
    integers = rng.integers(-90, 90, (4, 4, 1, 1)).astype(np.int8)
    x = {"x": rng.normal(0, 1, (1, 4, 5, 5)).astype(np.float32)}
    node = kit.node("Conv", ["x", "w"], ["y"])
    model = kit.int8_model(
        node, x, (1e-7, 0), weights={"w": (integers, np.full(4, 0.01, np.float32), 0)}
    )
    (finding,) = island_findings(model)
    assert "100.0% of all multiply-adds" in finding.message
    assert "256 or more" in finding.message


def test_a_float_model_has_no_islands(kit: Any) -> None:
    x = {"x": np.ones((1, 4), np.float32)}
    model = kit.model([kit.node("Exp", ["x"], ["y"])], x, {"y": np.float32})
    assert island_findings(model) == []
    assert find_islands(graph_of(model)) == []


@pytest.mark.parametrize(
    ("op_type", "shapes", "attributes", "expected"),
    [
        ("Conv", [(1, 4, 6, 6), (8, 4, 3, 3)], {}, 4 * 4 * 8 * 4 * 9),
        ("Conv", [(1, 4, 6, 6), (4, 1, 3, 3)], {"group": 4}, 4 * 4 * 4 * 9),
        ("Conv", [(1, 4, 6, 6), (8, 2, 3, 3)], {"group": 2}, 4 * 4 * 8 * 2 * 9),
        ("ConvTranspose", [(1, 4, 3, 3), (4, 8, 2, 2)], {"strides": [2, 2]}, 9 * 4 * 8 * 4),
        ("Gemm", [(3, 5), (5, 7)], {}, 3 * 5 * 7),
        ("MatMul", [(2, 3, 5), (2, 5, 7)], {}, 2 * 3 * 5 * 7),
    ],
)
def test_products_are_those_of_the_onnx_node(
    op_type: str,
    shapes: list[tuple[int, ...]],
    attributes: dict[str, Any],
    expected: int,
    kit: Any,
    rng: np.random.Generator,
) -> None:
    x, w = (rng.normal(0, 1, shape).astype(np.float32) for shape in shapes)
    computed = {"w": w} if op_type == "MatMul" else {}
    constants = {} if computed else {"w": w}
    source = kit.model(
        [kit.node(op_type, ["x", "w"], ["y"], **attributes)],
        {"x": x, **computed},
        {"y": np.float32},
        constants,
    )
    assert sum(map(products, graph_of(source).operators)) == expected
