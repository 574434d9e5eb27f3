"""LSTM, GRU and RNN in simpler operators against ONNX Runtime, over everything a node may have."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from edgewise.graph import OrtSession, prepare
from edgewise.graph.expand import expand

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
FUNCTIONS = {"LSTM": 3, "GRU": 2, "RNN": 1}
WITH_BETA = ("Affine", "ScaledTanh", "HardSigmoid")
WITH_ALPHA = (*WITH_BETA, "LeakyRelu", "ThresholdedRelu", "Elu")
ACTIVATIONS = (*WITH_ALPHA, "Relu", "Tanh", "Sigmoid", "Softsign", "Softplus")


def recurrent(
    op_type: str,
    *,
    length: int = 4,
    batch: int = 2,
    hidden: int = 3,
    inputs: int = 2,
    optional: tuple[str, ...] = (),
    fed: tuple[str, ...] = (),
    outputs: tuple[str, ...] = ("Y", "H"),
    seed: int = 0,
    **attributes: Any,
) -> tuple[onnx.ModelProto, dict[str, np.ndarray[Any, Any]]]:
    """A model of one node; optional inputs are constants unless they are fed."""
    rng = np.random.default_rng(seed)
    directions = 2 if attributes.get("direction") == "bidirectional" else 1
    rows, scale = GATES[op_type] * hidden, 1 / np.sqrt(hidden)
    shapes: dict[str, tuple[int, ...]] = {
        "x": (length, batch, inputs),
        "W": (directions, rows, inputs),
        "R": (directions, rows, hidden),
        "B": (directions, 2 * rows),
        "h": (directions, batch, hidden),
        "c": (directions, batch, hidden),
        "P": (directions, 3 * hidden),
    }
    arrays = {
        name: (rng.standard_normal(shape) * (1 if name == "x" else scale)).astype(np.float32)
        for name, shape in shapes.items()
    }
    arrays["lengths"] = rng.integers(0, length + 1, batch).astype(np.int32)
    order = ["x", "W", "R", "B", "lengths", "h", *(["c", "P"] if op_type == "LSTM" else [])]
    names = [n if n in ("x", "W", "R") or n in optional else "" for n in order]
    while not names[-1]:
        names.pop()
    feeds = {n: arrays[n] for n in names if n == "x" or n in fed}
    node = helper.make_node(
        op_type, names, list(outputs), name="n", hidden_size=hidden, **attributes
    )
    graph = helper.make_graph(
        [node],
        "g",
        [
            helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
            for n, a in feeds.items()
        ],
        [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, None) for n in outputs if n],
        [numpy_helper.from_array(arrays[n], n) for n in names if n and n not in feeds],
    )
    return (
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10),
        feeds,
    )


def written(proto: onnx.ModelProto, *, loops: bool = False) -> ir.Model:
    model = prepare(ir.from_proto(onnx.shape_inference.infer_shapes(proto)))
    declined = expand(model, lambda node: node.op_type in GATES, loops=loops)
    assert not declined
    return model


def difference(proto: onnx.ModelProto, feeds: Any, model: ir.Model) -> float:
    wanted = OrtSession(proto.SerializeToString()).run(feeds)
    found = OrtSession(model).run(feeds)
    worst = 0.0
    for name, array in wanted.items():
        assert found[name].shape == array.shape
        finite = np.isfinite(array)  # ONNX Runtime's Softplus overflows inside recurrent layers
        gap = np.abs(found[name][finite] - array[finite]).max(initial=0.0)
        worst = max(worst, float(gap / max(1.0, np.abs(array[finite]).max(initial=0.0))))
    return worst


@st.composite
def nodes(draw: st.DrawFn) -> tuple[onnx.ModelProto, Any]:
    op_type = draw(st.sampled_from(sorted(GATES)))
    several = op_type == "LSTM"
    inputs = st.sets(st.sampled_from(["B", "lengths", "h", *(["c", "P"] if several else [])]))
    optional = tuple(sorted(draw(inputs)))
    fed = draw(st.sets(st.sampled_from(["W", "R", "B", "lengths", "h", "c"])))
    names = ["Y", "H", *(["C"] if several else [])]
    wanted = draw(st.lists(st.booleans(), min_size=len(names), max_size=len(names)).filter(any))
    outputs = [name if keep else "" for name, keep in zip(names, wanted, strict=True)]
    while not outputs[-1]:
        outputs.pop()
    attributes: dict[str, Any] = {}
    direction = draw(st.sampled_from(["forward", "reverse", "bidirectional"]))
    if direction != "forward":
        attributes["direction"] = direction
    if draw(st.booleans()):
        attributes["clip"] = draw(st.floats(0.125, 2.0, width=32))
    if op_type == "GRU":
        attributes["linear_before_reset"] = draw(st.integers(0, 1))
    if several:
        attributes["input_forget"] = draw(st.integers(0, 1))
    return recurrent(
        op_type,
        length=draw(st.integers(1, 5)),
        batch=draw(st.integers(1, 3)),
        hidden=draw(st.integers(1, 4)),
        inputs=draw(st.integers(1, 3)),
        optional=optional,
        fed=tuple(sorted(fed & {"W", "R", *optional})),
        outputs=tuple(outputs),
        seed=draw(st.integers(0, 2**16)),
        **attributes,
    )


@settings(max_examples=60, deadline=None)
@given(nodes())
def test_every_form_of_a_node(case):
    proto, feeds = case
    model = written(proto)
    assert not {node.op_type for node in model.graph} & {*GATES, "Loop"}
    assert difference(proto, feeds, model) <= 2e-6


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_every_activation(data):
    op_type = data.draw(st.sampled_from(sorted(GATES)))
    direction = data.draw(st.sampled_from(["forward", "bidirectional"]))
    count = FUNCTIONS[op_type] * (2 if direction == "bidirectional" else 1)
    names = data.draw(st.lists(st.sampled_from(ACTIVATIONS), min_size=count, max_size=count))
    numbers = st.floats(0.125, 0.875, width=32)
    alphas, betas = (
        [data.draw(numbers) for name in names if name in group] for group in (WITH_ALPHA, WITH_BETA)
    )
    more: dict[str, Any] = {"activation_alpha": alphas} if alphas else {}
    more |= {"activation_beta": betas} if betas else {}
    proto, feeds = recurrent(
        op_type, optional=("B",), activations=names, direction=direction, **more
    )
    assert difference(proto, feeds, written(proto)) <= 5e-6


def test_defaults_of_activations_are_those_that_all_agree_on():
    names = ["LeakyRelu", "HardSigmoid", "Elu"]
    proto, feeds = recurrent("LSTM", activations=names)
    assert difference(proto, feeds, written(proto)) <= 2e-6


@pytest.mark.parametrize("name", ["Affine", "ScaledTanh", "ThresholdedRelu"])
def test_an_activation_without_its_number_is_declined(name):
    proto, _ = recurrent("RNN", activations=[name])
    model = prepare(ir.from_proto(onnx.shape_inference.infer_shapes(proto)))
    declined = expand(model, lambda node: node.op_type == "RNN")
    (reason,) = declined.values()
    assert "activation_alpha" in reason.why and name in reason.why


@pytest.mark.parametrize("op_type", sorted(GATES))
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_the_batch_may_come_first(op_type, direction):
    """ONNX Runtime has no layout 1, so both sides are turned by hand."""
    cells = ("c",) if op_type == "LSTM" else ()
    optional = ("h", "lengths", *cells)
    outputs = ("Y", "H", *(["C"] if cells else []))
    kept = {"optional": optional, "fed": optional, "outputs": outputs, "direction": direction}
    proto, feeds = recurrent(op_type, **kept)
    wanted = OrtSession(proto.SerializeToString()).run(feeds)
    turned = {n: a if n == "lengths" else np.swapaxes(a, 0, 1) for n, a in feeds.items()}
    other, _ = recurrent(op_type, **kept, layout=1)
    for value in other.graph.input:
        dims = value.type.tensor_type.shape.dim
        if len(dims) == 3:
            dims[0].dim_value, dims[1].dim_value = dims[1].dim_value, dims[0].dim_value
    found = OrtSession(written(other)).run(turned)
    np.testing.assert_allclose(found["Y"], wanted["Y"].transpose(2, 0, 1, 3), atol=2e-6)
    for name in outputs[1:]:
        np.testing.assert_allclose(found[name], np.swapaxes(wanted[name], 0, 1), atol=2e-6)


@pytest.mark.parametrize("op_type", sorted(GATES))
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("length", [700, 709])
def test_a_long_sequence_is_a_loop_of_several_steps(op_type, direction, length):
    proto, feeds = recurrent(
        op_type, length=length, optional=("lengths", "h"), fed=("lengths", "h"), direction=direction
    )
    model = written(proto, loops=True)
    loops = [node for node in model.graph if node.op_type == "Loop"]
    assert len(loops) == (2 if direction == "bidirectional" else 1)
    assert len(model.graph) < 100 * len(loops)
    assert difference(proto, feeds, model) <= 5e-6


def test_large_weights_are_copied_a_few_times_only():
    """One iteration holds one step where the weights are large, and nothing is left over."""
    proto, feeds = recurrent("LSTM", length=6, hidden=600)
    model = written(proto, loops=True)
    (loop,) = [node for node in model.graph if node.op_type == "Loop"]
    body = loop.attributes["body"].as_graph()
    assert [node.op_type for node in body].count("MatMul") == 1
    assert difference(proto, feeds, model) <= 5e-6


def test_all_steps_are_written_out_without_loops():
    proto, feeds = recurrent("RNN", length=700)
    model = written(proto)
    assert "Loop" not in {node.op_type for node in model.graph}
    assert difference(proto, feeds, model) <= 5e-6


def test_dequantized_weights_are_known():
    """Weights behind a DequantizeLinear are floats that need no arithmetic in the model."""
    proto, feeds = recurrent("GRU", optional=("B",))
    rng = np.random.default_rng(1)
    integers = {
        t.name: rng.integers(-127, 128, t.dims).astype(np.int8) for t in proto.graph.initializer
    }
    del proto.graph.initializer[:]
    call = proto.graph.node[0]
    for name, array in integers.items():
        constants = {f"{name}_q": array, f"{name}_s": np.float32(0.01), f"{name}_z": np.int8(0)}
        proto.graph.initializer.extend(numpy_helper.from_array(a, n) for n, a in constants.items())
        proto.graph.node.insert(
            0, helper.make_node("DequantizeLinear", list(constants), [name], name=f"dq_{name}")
        )
    assert call.op_type == "GRU"
    model = written(proto)
    assert "DequantizeLinear" not in {node.op_type for node in model.graph}
    assert difference(proto, feeds, model) <= 2e-6


@pytest.mark.parametrize(
    ("attributes", "why"),
    [({"direction": "sideways"}, "direction"), ({"activations": ["Tanh"] * 2}, "names 2")],
)
def test_what_makes_no_sense_is_declined(attributes, why):
    proto, _ = recurrent("RNN")
    for name, value in attributes.items():
        proto.graph.node[0].attribute.append(helper.make_attribute(name, value))
    model = ir.from_proto(proto)
    model.graph.outputs[0].shape = ir.Shape([4, 1, 2, 3])
    declined = expand(model, lambda node: node.op_type == "RNN")
    assert [why in reason.why for reason in declined.values()] == [True]
