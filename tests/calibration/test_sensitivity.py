"""The part of each layer in the output error, and how outputs are compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from edgewise.calibration import Scheme
from edgewise.calibration.gates import with_gates
from edgewise.calibration.output_error import Probe, observed_outputs
from edgewise.calibration.sensitivity import part_errors, sensitivity
from edgewise.calibration.tensor_errors import tensor_errors
from edgewise.errors import DataError, UsageError
from edgewise.graph import OrtSession

Trials = Callable[..., Any]


def _chain(net: Any, spoil: str = "", softmax: bool = False) -> ir.Model:
    """Four convolutions; of the spoiled one, the first output channel has 300 times the weights,
    and what reads it a 300th."""
    net = net(11)
    value = net.input("image", 1, 4, 10, 10)
    arrays = []
    for name in ("a", "b", "c", "d"):
        value = net.conv(value, 4, 4, name=name)
        arrays.append((name, net.constants[-2], net.constants[-1]))
        if name != "d":
            value = net.op("Relu", value, name=f"{name}_act")
    for (name, weight, bias), (_, after, _) in pairwise(arrays):
        if name == spoil:
            for tensor, index, factor in (
                (weight, np.s_[0], 300),
                (bias, np.s_[0], 300),
                (after, np.s_[:, 0], 1 / 300),
            ):
                array = np.frombuffer(tensor.raw_data, np.float32).reshape(tensor.dims).copy()
                array[index] *= factor
                tensor.raw_data = array.tobytes()
    if softmax:
        value = net.op("Softmax", net.op("Flatten", value, name="flat"), axis=-1, name="scores")
    return net.model(value)


@pytest.mark.parametrize("spoil", ["a", "b", "c"])
def test_the_spoiled_layer_is_first(spoil: str, net: Any, trial: Trials, apple: Scheme) -> None:
    tried = trial(_chain(net, spoil), count=3)
    found = sensitivity(tried.model, tried.quantize(apple), apple, tried.source, gains=3, limit=3)
    names = [layer.nodes for layer in found.layers]
    after = chr(ord(spoil) + 1)
    spoiled = {
        (f"n_{spoil}", f"n_{spoil}_act"),
        (f"n_{after}", f"n_{after}_act")[: 1 + (after != "d")],
    }
    assert set(names[:2]) == spoiled
    assert found.layers[0].share + found.layers[1].share > 0.9
    assert sum(layer.share for layer in found.layers) == pytest.approx(1.0)
    assert [layer.error for layer in found.layers] == sorted(
        (layer.error for layer in found.layers), reverse=True
    )
    gains = [layer.gain for layer in found.layers]
    assert gains[3:] == [None] * (len(gains) - 3)
    assert all(gain is not None and gain <= 1.0 for gain in gains[:3])


def test_the_error_is_that_of_the_qdq_model(net: Any, trial: Trials, apple: Scheme) -> None:
    """The definition, computed from the models themselves."""
    tried = trial(_chain(net), count=4)
    qdq = tried.quantize(apple)
    found = sensitivity(tried.model, qdq, apple, tried.source, limit=4)
    real, integer = OrtSession(tried.model), OrtSession(qdq)
    name = tried.model.graph.outputs[0].name
    wanted = np.stack([real.run(feeds)[name] for feeds in tried.source.samples]).astype(np.float64)
    noise = wanted - np.stack([integer.run(feeds)[name] for feeds in tried.source.samples])
    error = (noise**2).sum() / ((wanted - wanted.mean()) ** 2).sum()
    assert found.samples == 4
    assert found.error == pytest.approx(error, rel=0.02)
    assert found.sqnr_db == pytest.approx(-10 * np.log10(error), abs=0.1)


def test_class_scores_are_compared_before_the_softmax(
    net: Any, trial: Trials, android: Scheme
) -> None:
    tried = trial(_chain(net, softmax=True), count=2)
    qdq = tried.quantize(android)
    gated = with_gates(tried.model, qdq, android)
    before = observed_outputs(gated, tried.model)
    assert [value.classes for value in before] == [-1]
    assert before[0].name != "scores"
    assert [value.name for value in observed_outputs(gated, tried.model, "values")] == ["scores"]


def test_a_constant_offset_of_all_classes_is_no_error(
    net: Any, trial: Trials, apple: Scheme
) -> None:
    """The same error, once as values and once as scores: the mean over the last axis is gone."""
    tried = trial(_chain(net), count=2)
    qdq = tried.quantize(apple)
    plain, scores = (
        sensitivity(tried.model, qdq, apple, tried.source, measure=measure, limit=2)
        for measure in ("values", "classes")
    )
    assert plain.error != scores.error


def test_parts_of_a_layer(net: Any, trial: Trials, apple: Scheme) -> None:
    tried = trial(_chain(net, "b"), count=2)
    gated = with_gates(tried.model, tried.quantize(apple), apple)
    probe = Probe(gated, tried.model)
    parts = part_errors(probe, ["n_b"], tried.source, limit=2)["n_b"]
    assert {part.kind for part in parts} == {"input", "output", "constants"}
    assert (parts[0].kind, parts[0].name) == ("output", "b_act")
    assert parts[0].share > 0.9
    assert sum(part.share for part in parts) == pytest.approx(1.0)


def test_tensors_in_both_forms(net: Any, trial: Trials, android: Scheme) -> None:
    """SQNR against values computed here, for a tensor in the middle."""
    tried = trial(_chain(net), count=2)
    qdq = tried.quantize(android)
    gated = with_gates(tried.model, qdq, android)
    found = tensor_errors(gated, tried.source, limit=2)
    tensor = found["b_act"]
    signal = noise = own = 0.0
    for feeds in tried.source.samples:
        real = OrtSession(_showing(tried.model, "b_act")).run(feeds, ["b_act"])["b_act"]
        name = "b_act_DequantizeLinear_Output"
        integer = OrtSession(_showing(qdq, name)).run(feeds, [name])[name]
        rounded = tensor.quantization.dequantize(tensor.quantization.quantize(real))
        signal += float((real.astype(np.float64) ** 2).sum())
        noise += float(((integer - real).astype(np.float64) ** 2).sum())
        own += float(((rounded - real).astype(np.float64) ** 2).sum())
    assert tensor.sqnr_db == pytest.approx(10 * np.log10(signal / noise), abs=0.1)
    assert tensor.own_sqnr_db == pytest.approx(10 * np.log10(signal / own), abs=0.01)
    assert tensor.sqnr_db < tensor.own_sqnr_db
    assert tensor.saturated == 0.0
    assert found["image"].sqnr_db == found["image"].own_sqnr_db


def _showing(model: ir.Model, name: str) -> ir.Model:
    copy = ir.from_proto(ir.to_proto(model))
    copy.graph.outputs.append(
        next(v for node in copy.graph for v in node.outputs if v.name == name)
    )
    return copy


def test_no_samples_and_no_float_output(
    net: Any, trial: Trials, apple: Scheme, source: Any
) -> None:
    tried = trial(_chain(net), count=1)
    qdq = tried.quantize(apple)
    with pytest.raises(DataError, match="no samples"):
        sensitivity(tried.model, qdq, apple, source([]))
    indices = ir.node("ArgMax", [tried.model.graph.outputs[0]], {"axis": 1}, name="n_indices")
    indices.outputs[0].name, indices.outputs[0].dtype = "indices", ir.DataType.INT64
    tried.model.graph.append(indices)
    tried.model.graph.outputs[0] = indices.outputs[0]
    counted = trial(tried.model, count=1)
    with pytest.raises(UsageError, match="no floating-point output"):
        sensitivity(counted.model, counted.quantize(apple), apple, counted.source)


def test_a_deadline_ends_between_samples(net: Any, trial: Trials, apple: Scheme) -> None:
    tried = trial(_chain(net), count=5)
    found = sensitivity(
        tried.model, tried.quantize(apple), apple, tried.source, limit=5, deadline=0.0
    )
    assert found.samples == 1


def test_excluded_layers_are_not_ranked(net: Any, trial: Trials, apple: Scheme) -> None:
    tried = trial(_chain(net), count=1)
    scheme = replace(apple, fused_activations=frozenset())
    qdq = tried.quantize(scheme, exclude=["n_b"])
    found = sensitivity(tried.model, qdq, scheme, tried.source, exclude=["n_b"], limit=1)
    assert {layer.name for layer in found.layers} & {"n_b"} == set()
    assert {"n_a", "n_c", "n_d"} <= {layer.name for layer in found.layers}
