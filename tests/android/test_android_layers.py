"""Layers replayed with the QDQ model's own integers: each is right, and a wrong one is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from edgewise.errors import ModelError, UsageError
from edgewise.targets import EmitOptions
from edgewise.targets.android import TARGET
from edgewise.targets.android.reader import read_file
from edgewise.targets.base import Artifact
from edgewise.targets.layerwise import LayerDifference, LayerReport
from edgewise.targets.validation import compare_layers

Feeds = dict[str, np.ndarray[Any, Any]]
Emit = Callable[..., Artifact]


@pytest.fixture
def emit(tmp_path: Any) -> Emit:
    def run(model: ir.Model, **options: Any) -> Artifact:
        return TARGET.emit(model, tmp_path / "out", "w8a8", options=EmitOptions(options=options))

    return run


@pytest.fixture
def feeds(rng: np.random.Generator) -> list[Feeds]:
    return [{"x": rng.normal(0, 1, (1, 3, 8, 8)).astype(np.float32)} for _ in range(3)]


@pytest.fixture
def network(kit: Any, feeds: list[Feeds], rng: np.random.Generator) -> ir.Model:
    """Padded convolution, island of a function without integer kernel, pool, head behind Flatten,
    whose weights take the columns in NHWC order."""

    def weights(*shape: int) -> Any:
        return rng.normal(0, 0.4, shape).astype(np.float32)

    nodes = [
        kit.node("Conv", ["x", "w1", "b1"], ["stem"], pads=[1, 1, 0, 0], strides=[2, 2]),
        kit.node("Softplus", ["stem"], ["soft"]),
        kit.node("Conv", ["soft", "w2"], ["deep"], pads=[1] * 4, group=4),
        kit.node("Add", ["stem", "deep"], ["sum"]),
        kit.node("MaxPool", ["sum"], ["pool"], kernel_shape=[2, 2], strides=[2, 2]),
        kit.node("Flatten", ["pool"], ["flat"]),
        kit.node("Gemm", ["flat", "w3", "b3"], ["y"]),
    ]
    constants = {
        "w1": weights(4, 3, 3, 3), "b1": weights(4), "w2": weights(4, 1, 3, 3),
        "w3": weights(16, 5), "b3": weights(5),
    }  # fmt: skip
    model: ir.Model = kit.calibrated(
        kit.model(nodes, feeds[0], {"y": np.float32}, constants), feeds
    )
    return model


def by_node(report: LayerReport) -> dict[str, LayerDifference]:
    return {layer.node: layer for layer in report.layers}


def test_layers_of_a_network(network: ir.Model, feeds: list[Feeds], emit: Emit) -> None:
    report = compare_layers(network, emit(network), feeds)
    found = by_node(report)
    assert report.samples == 3 and not report.beyond
    assert {"n_stem", "n_deep", "n_sum", "n_pool", "n_flat", "n_y"} <= set(found)
    assert found["n_stem"].operators == ("PAD", "CONV_2D")
    assert found["n_stem"].elements == 3 * 4 * 4 * 4
    assert found["n_pool"].max_lsb == 0
    island = next(layer for layer in report.layers if "DEQUANTIZE" in layer.operators)
    assert island.operators[-1] == "QUANTIZE" and island.node == "n_soft"


@pytest.mark.parametrize(
    "options",
    [{"io": "float"}, {"io": "uint8"}, {"layout": "NCHW"}],
    ids=lambda o: str(*o.values()),
)
def test_form_of_inputs_and_outputs_changes_no_layer(
    options: dict[str, str], network: ir.Model, feeds: list[Feeds], emit: Emit
) -> None:
    plain = by_node(compare_layers(network, emit(network), feeds))
    found = by_node(compare_layers(network, emit(network, **options), feeds))
    assert set(plain) <= set(found)
    assert all(found[node].max_lsb == layer.max_lsb for node, layer in plain.items())


def test_a_wrong_layer_is_named_and_no_other(
    network: ir.Model, feeds: list[Feeds], emit: Emit
) -> None:
    """One weight of the first convolution is flipped in the file: all later layers stay right."""
    artifact = emit(network)
    content = bytearray(artifact.path.read_bytes())
    file = read_file(bytes(content))
    convolution = next(o for o in file.main.graph.operators if o.kind == "CONV_2D")
    start = file.buffer_starts[file.main.buffers[file.main.tensors.index(convolution.inputs[1])]]
    content[start] = (content[start] + 128) % 256 or 1
    artifact.path.write_bytes(content)
    report = compare_layers(network, artifact, feeds)
    assert [layer.node for layer in report.beyond] == ["n_stem"]
    assert report.worst is not None and report.worst.max_lsb > 1


def test_unsigned_models_are_compared_in_their_own_integers(
    kit: Any, rng: np.random.Generator, emit: Emit
) -> None:
    x = {"x": rng.normal(0, 1, (1, 4, 5, 5)).astype(np.float32)}
    scales = np.full(4, 0.01, np.float32)
    weights = {"w": (rng.integers(-90, 90, (4, 1, 3, 3)).astype(np.int8), scales, 0)}
    node = kit.node("Conv", ["x", "w"], ["y"], group=4, pads=[1] * 4)
    model = kit.int8_model(node, x, (0.05, 128), weights=weights, storage=np.uint8)
    (layer,) = compare_layers(model, emit(model), [x]).layers
    assert layer.ok and layer.elements == 100 and layer.node == "n_y_f"


def test_columns_of_a_flattened_float_image_keep_their_order_when_quantized(
    kit: Any, feeds: list[Feeds], rng: np.random.Generator, emit: Emit
) -> None:
    """The float tensor is flattened in NHWC order, then quantized, then multiplied."""
    nodes = [
        kit.node("Conv", ["x", "w"], ["c"]),
        kit.node("Softplus", ["c"], ["s"]),
        kit.node("Flatten", ["s"], ["f"]),
        kit.node("QuantizeLinear", ["f", "scale", "zero"], ["q"]),
        kit.node("DequantizeLinear", ["q", "scale", "zero"], ["d"]),
        kit.node("DequantizeLinear", ["m", "step"], ["k"]),
        kit.node("MatMul", ["d", "k"], ["p"]),
        kit.node("QuantizeLinear", ["p", "wide", "zero"], ["pq"]),
        kit.node("DequantizeLinear", ["pq", "wide", "zero"], ["y"]),
    ]
    constants = {
        "w": rng.normal(0, 0.4, (4, 3, 3, 3)).astype(np.float32),
        "m": rng.integers(-90, 90, (144, 5)).astype(np.int8),
        "scale": np.float32(0.05), "step": np.float32(0.002), "wide": np.float32(0.1),
        "zero": np.int8(-3),
    }  # fmt: skip
    model = kit.model(nodes, feeds[0], {"y": np.float32}, constants)
    report = compare_layers(model, emit(model), feeds)
    assert {layer.tensor for layer in report.layers} == {"q", "pq"}
    assert not report.beyond


def test_a_file_of_another_model_is_refused(
    network: ir.Model, feeds: list[Feeds], emit: Emit, kit: Any
) -> None:
    other = kit.calibrated(
        kit.model([kit.node("Add", ["x", "x"], ["z"])], feeds[0], {"z": np.float32}), feeds
    )
    with pytest.raises(ModelError, match="was not emitted from this model"):
        compare_layers(network, emit(other), feeds)


def test_a_damaged_file_is_refused(network: ir.Model, feeds: list[Feeds], emit: Emit) -> None:
    artifact = emit(network)
    artifact.path.write_bytes(b"TFL3")
    with pytest.raises(ModelError, match="cannot be read"):
        compare_layers(network, artifact, feeds)


def test_a_free_batch_cannot_be_compared(network: ir.Model, feeds: list[Feeds], emit: Emit) -> None:
    artifact = emit(network)
    options = {**artifact.manifest.options, "batch": "dynamic"}
    dynamic = replace(artifact, manifest=replace(artifact.manifest, options=options))
    with pytest.raises(UsageError, match="batch 1"):
        compare_layers(network, dynamic, feeds)


def test_without_feeds_nothing_is_claimed(network: ir.Model, emit: Emit) -> None:
    report = compare_layers(network, emit(network), [])
    assert report.samples == 0 and all(layer.elements == 0 for layer in report.layers)
