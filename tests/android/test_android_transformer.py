"""Transformer blocks: no stray transposes or reshapes, and integer products throughout."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from edgewise.exporters.pipeline import canonicalize
from edgewise.graph import prepare
from edgewise.targets.android.legalize import legalize
from edgewise.targets.android.lower import lower

TOKENS, WIDTH, HEADS = 7, 24, 3
SIZE = WIDTH // HEADS


class Block:
    """Nodes and constants of one block from x to y, with random weights."""

    def __init__(self, kit: Any, rng: np.random.Generator) -> None:
        self.kit, self.rng = kit, rng
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {
            "gain": rng.uniform(0.5, 2, WIDTH).astype(np.float32),
            "shift": rng.normal(0, 1, WIDTH).astype(np.float32),
            "heads": np.array([0, 0, HEADS, SIZE]),
            "whole": np.array([0, 0, WIDTH]),
        }

    def op(self, op_type: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(self.kit.node(op_type, inputs, [output], **attributes))
        return output

    def linear(self, x: str, output: str, width: int = WIDTH, inner: int = WIDTH) -> str:
        weights = self.rng.normal(0, inner**-0.5, (inner, width)).astype(np.float32)
        self.constants[f"{output}_w"] = weights
        self.constants[f"{output}_b"] = self.rng.normal(0, 0.3, width).astype(np.float32)
        product = self.op("MatMul", [x, f"{output}_w"], f"{output}_p")
        return self.op("Add", [product, f"{output}_b"], output)

    def heads(self, x: str, output: str) -> str:
        apart = self.op("Reshape", [self.linear(x, f"{output}_l"), "heads"], f"{output}_r")
        return self.op("Transpose", [apart], output, perm=[0, 2, 1, 3])

    def feed_forward(self, x: str, activation: str) -> str:
        wide = self.linear(x, "wide", 2 * WIDTH)
        bent = self.op(activation, [wide], "bent")
        narrow = self.linear(bent, "narrow", inner=2 * WIDTH)
        return self.op("Add", [x, narrow], "y")

    def model(self, opset: int = 21) -> ir.Model:
        x = {"x": np.zeros((1, TOKENS, WIDTH), np.float32)}
        model: ir.Model = self.kit.model(self.nodes, x, {"y": np.float32}, self.constants, opset)
        return model


def spread_out(
    kit: Any, rng: np.random.Generator, activation: str = "Gelu", opset: int = 21
) -> ir.Model:
    """Multi-head attention as exporters write it for opset 18 to 22, after a LayerNormalization."""
    block = Block(kit, rng)
    normal = block.op("LayerNormalization", ["x", "gain", "shift"], "normal")
    query, key, value = (block.heads(normal, name) for name in ("query", "key", "value"))
    block.constants["scale"] = np.float32(SIZE**-0.5)
    scaled = block.op("Mul", [query, "scale"], "scaled")
    turned = block.op("Transpose", [key], "turned", perm=[0, 1, 3, 2])
    weights = block.op("Softmax", [block.op("MatMul", [scaled, turned], "scores")], "weights")
    mixed = block.op("MatMul", [weights, value], "mixed")
    joined = block.op("Transpose", [mixed], "joined", perm=[0, 2, 1, 3])
    output = block.linear(block.op("Reshape", [joined, "whole"], "flat"), "out")
    block.feed_forward(block.op("Add", ["x", output], "kept"), activation)
    return block.model(opset)


def whole(kit: Any, rng: np.random.Generator, **options: Any) -> ir.Model:
    """The same around one Attention node."""
    block = Block(kit, rng)
    normal = block.op("LayerNormalization", ["x", "gain", "shift"], "normal")
    query, key, value = (block.linear(normal, name) for name in ("query", "key", "value"))
    heads = {"q_num_heads": HEADS, "kv_num_heads": HEADS}
    mixed = block.op("Attention", [query, key, value], "mixed", **heads, **options)
    block.feed_forward(block.op("Add", ["x", block.linear(mixed, "out")], "kept"), "Gelu")
    return block.model(24)


def padded(kit: Any, rng: np.random.Generator) -> ir.Model:
    """Keys that a comparison at runtime hides, as torch writes a boolean mask."""
    block = Block(kit, rng)
    query, key, value = (block.heads("x", name) for name in ("query", "key", "value"))
    block.constants |= {
        "nothing": np.float32(0), "minus": np.float32(-np.inf), "low": np.float32(-3),
        "first": np.array([0]), "one": np.array([1]), "last": np.array([-1]),
    }  # fmt: skip
    column = block.op("Slice", ["x", "first", "one", "last"], "column")
    seen = block.op("Greater", [block.op("Transpose", [column], "row", perm=[0, 2, 1]), "low"], "s")
    mask = block.op("Where", [seen, "nothing", "minus"], "mask")
    turned = block.op("Transpose", [key], "turned", perm=[0, 1, 3, 2])
    scores = block.op("Add", [block.op("MatMul", [query, turned], "scores"), mask], "masked")
    weights = block.op("Softmax", [scores], "weights")
    empty = block.op("IsNaN", [weights], "empty")
    guarded = block.op("Where", [empty, "nothing", weights], "guarded")
    mixed = block.op("MatMul", [guarded, value], "mixed")
    joined = block.op("Transpose", [mixed], "joined", perm=[0, 2, 1, 3])
    block.op("Add", ["x", block.linear(block.op("Reshape", [joined, "whole"], "f"), "out")], "y")
    return block.model()


MODELS = {
    "spread out": spread_out,
    "whole": whole,
    "causal": lambda kit, rng: whole(kit, rng, is_causal=1),
    "capped": lambda kit, rng: whole(kit, rng, softcap=5.0),
}


def feeds(rng: np.random.Generator, count: int = 4) -> list[dict[str, Any]]:
    return [{"x": rng.normal(0, 1, (1, TOKENS, WIDTH)).astype(np.float32)} for _ in range(count)]


@pytest.mark.parametrize("name", MODELS)
def test_float_blocks_compute_the_same(
    kit: Any, execute: Any, rng: np.random.Generator, name: str
) -> None:
    assert execute(MODELS[name](kit, rng), feeds(rng)[0], reference=True).error < 1e-5


@pytest.mark.parametrize("opset", [20, 22, 23, 24, 25, 26])
def test_models_of_other_opsets(
    kit: Any, execute: Any, rng: np.random.Generator, opset: int
) -> None:
    source = spread_out(kit, rng, "Mish" if opset >= 22 else "Gelu", opset)
    assert prepare(source).opset_imports[""] == max(opset, 21)
    assert execute(source, feeds(rng)[0], reference=True).error < 1e-5


@pytest.mark.parametrize("name", ["spread out", "whole"])
def test_four_transposes_and_no_needless_reshape_or_addition(
    kit: Any, rng: np.random.Generator, name: str
) -> None:
    """Heads are split off the query, key and value, and joined again; XNNPACK and TFLite have no
    product that reads them in place."""
    found = Counter(kit.kinds(MODELS[name](kit, rng)))
    assert found["TRANSPOSE"] == 4
    assert found["RESHAPE"] == 4
    assert found["FULLY_CONNECTED"] == 6
    assert found["BATCH_MATMUL"] == 2
    assert found["ADD"] == 2 + 2  # residuals, and two of the normalization


def test_a_relu_is_computed_with_the_product(kit: Any, rng: np.random.Generator) -> None:
    assert "RELU" not in kit.kinds(spread_out(kit, rng, "Relu"))


def quantized(kit: Any, model: ir.Model, samples: list[dict[str, Any]]) -> ir.Model:
    hub = prepare(model)
    canonicalize(hub)
    result: ir.Model = kit.calibrated(hub, samples)
    return result


@pytest.mark.parametrize("name", MODELS)
def test_all_products_are_integer(
    kit: Any, execute: Any, rng: np.random.Generator, name: str
) -> None:
    samples = feeds(rng)
    model = quantized(kit, MODELS[name](kit, rng), samples)
    lowered = lower(*legalize(model))
    assert not lowered.refusals
    products = [o for o in lowered.graph.operators if o.kind in ("FULLY_CONNECTED", "BATCH_MATMUL")]
    assert len(products) == 8
    assert all(o.is_int8 for o in products)
    islands = {o.kind for o in lowered.graph.operators if o.outputs[0].dtype == np.float32}
    assert islands == {"DEQUANTIZE", "MEAN", "SUB", "MUL", "ADD", "RSQRT"}  # of the normalization
    run = execute(model, samples[0], "w8a8")
    assert run.lsb <= 2 * kit.int8_tolerance  # a softmax between two roundings


def test_quantized_activations_stay_next_to_their_product(
    kit: Any, rng: np.random.Generator
) -> None:
    model = quantized(kit, spread_out(kit, rng, "Relu"), feeds(rng))
    assert "RELU" not in kit.kinds(model)


def root_mean_square(kit: Any, rng: np.random.Generator) -> ir.Model:
    """A block of opset 21 around an RMSNormalization that is spelled out."""
    block = Block(kit, rng)
    block.constants |= {"last": np.array([-1]), "tiny": np.float32(1e-6)}
    block.op("Mul", ["x", "x"], "squares")
    block.op("ReduceMean", ["squares", "last"], "power")
    block.op("Sqrt", [block.op("Add", ["power", "tiny"], "sum")], "root")
    normal = block.op("Mul", [block.op("Div", ["x", "root"], "ratio"), "gain"], "normal")
    block.feed_forward(block.linear(normal, "kept"), "Relu")
    return block.model()


def test_a_normalization_that_is_spelled_out_is_one_float_island(
    kit: Any, execute: Any, rng: np.random.Generator
) -> None:
    plain = root_mean_square(kit, rng)
    assert kit.kinds(plain)[:6] == ["MUL", "MEAN", "ADD", "RSQRT", "MUL", "MUL"]
    samples = feeds(rng)
    assert execute(plain, samples[0]).error < 1e-5
    model = quantized(kit, plain, samples)
    assert kit.kinds(model)[:7] == ["MUL", "MEAN", "ADD", "RSQRT", "MUL", "MUL", "QUANTIZE"]
    assert execute(model, samples[0], "w8a8").lsb <= 2 * kit.int8_tolerance


def test_a_mask_of_the_moment_and_zeros_for_nan_are_integer(
    kit: Any, execute: Any, rng: np.random.Generator
) -> None:
    samples = feeds(rng)
    model = quantized(kit, padded(kit, rng), samples)
    lowered = lower(*legalize(model))
    floats = {o.kind for o in lowered.graph.operators if o.outputs[0].dtype == np.float32}
    assert floats <= {"DEQUANTIZE", "STRIDED_SLICE", "RESHAPE", "TRANSPOSE"}  # what is compared
    kinds = Counter(operator.kind for operator in lowered.graph.operators)
    assert kinds["SELECT_V2"] == 2
    run = execute(model, samples[0], "w8a8")
    assert run.lsb <= 2 * kit.int8_tolerance
