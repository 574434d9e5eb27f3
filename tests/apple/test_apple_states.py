"""Packages that keep inputs from run to run, and what cannot be kept."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper
from zoo.hub import hub_model

from edgewise.errors import ModelError, UsageError
from edgewise.graph import OrtSession, prepare
from edgewise.targets import EmitOptions
from edgewise.targets.apple import TARGET
from edgewise.targets.apple._coremltools import ct

CACHES = {"keys": "output_1", "values": "output_2"}


def wanted(states, **others):
    return EmitOptions(options={"states": states, **others})


def accumulator(make):
    """total = sum + x, y = 2 * total"""
    nodes = [
        helper.make_node("Add", ["sum", "x"], ["total"]),
        helper.make_node("Add", ["total", "total"], ["y"]),
    ]
    x = np.zeros((1, 4), np.float32)
    return make.build_model(nodes, {"x": x, "sum": x}, ["y", "total"])


def half(array):
    return array.astype(np.float16).astype(np.float32)


@pytest.fixture
def session(make, tmp_path):
    artifact = TARGET.emit(accumulator(make), tmp_path, "fp32", options=wanted({"sum": "total"}))
    return TARGET.open(artifact.path)


def test_a_state_is_neither_input_nor_output_of_the_package(make, tmp_path):
    artifact = TARGET.emit(accumulator(make), tmp_path, "fp32", options=wanted({"sum": "total"}))
    description = ct.utils.load_spec(str(artifact.path)).description
    assert [feature.name for feature in description.input] == ["x"]
    assert [feature.name for feature in description.output] == ["y"]
    assert [feature.name for feature in description.state] == ["sum"]
    kept = description.state[0].type.stateType.arrayType
    assert list(kept.shape) == [1, 4] and kept.dataType == kept.ArrayDataType.FLOAT16

    manifest = artifact.manifest
    assert [(s.name, s.file_name, s.dtype) for s in manifest.inputs] == [
        ("x", "x", "float32"), ("sum", "sum", "float16"),
    ]  # fmt: skip
    assert [(s.name, s.file_name) for s in manifest.outputs] == [("y", "y"), ("total", "sum")]
    assert manifest.options["states"] == {"sum": "total"}
    assert manifest.options["minimum_deployment_target"] == "iOS18"


def test_given_states_are_written_before_and_read_after(session, make):
    x, total = make.random(1, 4), half(make.random(1, 4, seed=1))
    results = session.run({"x": x, "sum": total})
    assert np.array_equal(results["total"], half(total + x))
    assert results["total"].dtype == np.float32
    np.testing.assert_allclose(results["y"], 2 * (total + x), atol=1e-2)


def test_states_are_kept_until_reset(session):
    x = np.full((1, 4), 1.5, np.float32)
    outputs = [session.run({"x": x})["y"][0, 0] for _ in range(3)]
    assert outputs == [3.0, 6.0, 9.0]
    assert set(session.run({"x": x})) == {"y"}
    session.reset()
    assert session.run({"x": x})["y"][0, 0] == 3.0


def test_sessions_do_not_share_states(make, tmp_path):
    path = TARGET.emit(accumulator(make), tmp_path, "fp32", options=wanted({"sum": "total"})).path
    one, other = TARGET.open(path), TARGET.open(path)
    x = np.ones((1, 4), np.float32)
    assert [one.run({"x": x})["y"][0, 0], one.run({"x": x})["y"][0, 0]] == [2.0, 4.0]
    assert other.run({"x": x})["y"][0, 0] == 2.0


def test_prepared_inputs_hold_states_too(session):
    x = np.ones((1, 4), np.float32)
    session.prepare({"x": x, "sum": 3 * x})
    session.invoke()
    assert session.run({"x": x})["y"][0, 0] == 10.0


def test_states_are_given_together(make, tmp_path):
    x = np.zeros((1, 4), np.float32)
    nodes = [
        helper.make_node("Add", ["a", "x"], ["a2"]),
        helper.make_node("Sub", ["b", "x"], ["b2"]),
        helper.make_node("Mul", ["a2", "b2"], ["y"]),
    ]
    model = make.build_model(nodes, {"x": x, "a": x, "b": x}, ["y", "a2", "b2"])
    session = TARGET.open(
        TARGET.emit(model, tmp_path, "fp32", options=wanted({"a": "a2", "b": "b2"}))
    )
    with pytest.raises(UsageError, match="inputs missing: b"):
        session.run({"x": x, "a": x})
    with pytest.raises(UsageError, match="wrong inputs"):
        session.run({"a": x, "b": x})
    ones = np.ones((1, 4), np.float32)
    results = session.run({"x": ones, "a": 2 * ones, "b": 5 * ones})
    assert {name: value[0, 0] for name, value in results.items()} == {"y": 12, "a2": 3, "b2": 4}


def test_two_models_of_the_same_name_write_the_same_bytes(make, tmp_path):
    for name in "ab":
        TARGET.emit(accumulator(make), tmp_path / name, "fp16", options=wanted({"sum": "total"}))
    model = "model.mlpackage/Data/com.apple.CoreML/model.mlmodel"
    assert (tmp_path / "a" / model).read_bytes() == (tmp_path / "b" / model).read_bytes()
    manifests = [(tmp_path / name / "manifest.json").read_bytes() for name in "ab"]
    assert manifests[0] == manifests[1]


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("fp16", 0.02)])
def test_a_decoder_with_its_cache(tmp_path, precision, tolerance):
    """Eight tokens of GPT-2, in which Core ML keeps the cache; ONNX Runtime gets it by hand, in the
    fp16 that a state has."""
    model = hub_model("gpt2_static_cache")
    artifact = TARGET.emit(model, tmp_path, precision, options=wanted(CACHES))
    session, reference = TARGET.open(artifact.path), OrtSession(prepare(model, batch=1))
    cache = {name: np.zeros((2, 1, 4, 16, 12), np.float32) for name in CACHES}
    tokens = np.random.default_rng(0).integers(0, 100, 8)
    for position, token in enumerate(tokens):
        feeds = {"input_ids": np.array([[token]]), "position": np.array([position])}
        results, expected = session.run(feeds), reference.run({**feeds, **cache})
        assert list(results) == ["output_0"]
        logits = expected["output_0"]
        difference = np.abs(results["output_0"] - logits).max()
        assert difference < tolerance * np.ptp(logits)
        assert results["output_0"].argmax() == logits.argmax()
        cache = {name: half(expected[result]) for name, result in CACHES.items()}


REFUSED = {
    "unknown input": ({"cache": "total"}, UsageError, "no input 'cache'"),
    "unknown output": ({"sum": "result"}, UsageError, "no output 'result'"),
    "one output twice": ({"sum": "total", "x": "total"}, UsageError, "two states"),
    "every output": ({"sum": "total", "x": "y"}, ModelError, "needs an output"),
    "no table": (["sum"], UsageError, r"option 'states' is ['sum']"),
}


@pytest.mark.parametrize(("states", "kind", "text"), REFUSED.values(), ids=REFUSED)
def test_what_the_model_has_not_is_refused(make, tmp_path, states, kind, text):
    with pytest.raises(kind) as caught:
        TARGET.emit(accumulator(make), tmp_path / "out", "fp32", options=wanted(states))
    assert text in str(caught.value) and "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_what_core_ml_cannot_keep_is_refused(make, tmp_path):
    x, whole = np.zeros((1, 4), np.float32), np.zeros((1, 4), np.int64)
    growing = make.build_model(
        [
            helper.make_node("Concat", ["cache", "x"], ["longer"], axis=1),
            helper.make_node("Relu", ["x"], ["y"]),
        ],
        {"x": x, "cache": x},
        ["y", "longer"],
    )
    counting = make.build_model(
        [
            helper.make_node("Add", ["count", "count"], ["next"]),
            helper.make_node("Relu", ["x"], ["y"]),
        ],
        {"x": x, "count": whole},
        ["y", "next"],
    )
    casting = make.build_model(
        [
            helper.make_node("Cast", ["x"], ["next"], to=TensorProto.INT64),
            helper.make_node("Relu", ["x"], ["y"]),
        ],
        {"x": x},
        ["y", "next"],
    )
    for model, states, text in (
        (growing, {"cache": "longer"}, "the input is [1, 4], the output [1, 8]"),
        (counting, {"count": "next"}, "Core ML keeps fp16"),
        (casting, {"x": "next"}, "the input is FLOAT, the output INT64"),
    ):
        with pytest.raises(ModelError) as caught:
            TARGET.emit(model, tmp_path / "out", "fp32", options=wanted(states))
        assert text in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_older_system_has_no_states(make, tmp_path):
    options = wanted({"sum": "total"}, deployment_target="iOS17")
    with pytest.raises(ModelError, match="a state needs iOS18"):
        TARGET.emit(accumulator(make), tmp_path / "out", "fp32", options=options)
    assert list(tmp_path.iterdir()) == []
