"""SiLU as one Swish node, from the export to the artifacts of three targets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from edgewise import targets
from edgewise.calibration import collect_statistics, quantize
from edgewise.data.source import Sample
from edgewise.exporters.pipeline import canonicalize
from edgewise.graph import OrtSession, load, prepare
from edgewise.graph.swish import spell_out_silu

NAME = "fuse-silu"
PLAIN = "s = Sigmoid (x)\n y = Mul (x, s)"
NETWORK = """g (float[n, 3, 8, 8] x) => (float[n, 4, 8, 8] y) {
    a = Conv <pads = [1, 1, 1, 1]> (x, w)
    [act] a_gate = Sigmoid (a)
    [silu] b = Mul (a_gate, a)
    y = Conv (b, v)
}"""


class Pictures:
    description, labelled, class_names, fingerprint = "noise", False, (), "noise"
    findings = ()

    def __len__(self) -> int:
        return 4

    def __iter__(self):
        for seed in range(4):
            noise = np.random.default_rng(seed).standard_normal((1, 3, 8, 8), np.float32)
            yield Sample({"x": noise})


def graph(body: str) -> str:
    return f"g (float[n, 30] x) => (float[n, 30] y) {{ {body} }}"


@pytest.fixture
def network(parse) -> ir.Model:
    rng = np.random.default_rng(0)
    weights = {"w": rng.standard_normal((4, 3, 3, 3), np.float32) * 0.4}
    weights["v"] = rng.standard_normal((4, 4, 1, 1), np.float32)
    hub = prepare(parse(NETWORK, **weights), batch=1)
    canonicalize(hub)
    return hub


@pytest.mark.parametrize("body", [PLAIN, "s = Sigmoid (x)\n y = Mul (s, x)"])
def test_either_order(parse, rewrite, body):
    result = rewrite(parse(graph(body)), NAME)
    assert result.ops == {"Swish": 1}
    assert result.model.opset_imports[""] == 24


@pytest.mark.parametrize(
    "body",
    [
        "s = Sigmoid (x)\n a = Relu (x)\n y = Mul (a, s)",
        "s = Sigmoid (x)\n y = Add (x, s)",
        "h = Mul (x, half)\n s = Sigmoid (h)\n y = Mul (x, s)",
    ],
    ids=["of something else", "sum", "another slope"],
)
def test_what_is_no_silu(parse, rewrite, body):
    result = rewrite(parse(graph(body), half=np.float32(0.5)), NAME)
    assert not result.modified
    assert not result.declined
    assert result.model.opset_imports[""] == 21


def test_a_sigmoid_that_is_read_elsewhere_stays(parse, rewrite):
    body = "s = Sigmoid (x)\n p = Mul (x, s)\n y = Add (p, s)"
    result = rewrite(parse(graph(body)), NAME)
    assert [d.reason for d in result.declined] == ["the result of 's' is used elsewhere too"]


def test_newer_opsets_are_left_alone(parse, rewrite):
    result = rewrite(parse(graph(PLAIN), opset=25), NAME)
    assert "does not compute Swish in opset 25" in result.declined[0].reason


def test_names(network):
    assert [(n.op_type, n.name) for n in network.graph][1] == ("Swish", "silu")
    before = OrtSession(network).run(next(iter(Pictures())).feeds)
    between = spell_out_silu(network)
    nodes = [(node.op_type, node.name, node.outputs[0].name) for node in network.graph]
    assert nodes[1:3] == [("Sigmoid", "b_sigmoid", "b_sigmoid"), ("Mul", "silu", "b")]
    assert between == {"silu": "b_sigmoid"}
    assert network.opset_imports[""] == 21
    after = OrtSession(network).run(next(iter(Pictures())).feeds)
    np.testing.assert_allclose(after["y"], before["y"], rtol=1e-6, atol=1e-6)


def test_the_newer_opset_stays_where_something_else_needs_it(parse):
    body = "s = Swish (x)\n y = RMSNormalization (s, one)"
    model = prepare(parse(graph(body), opset=24, one=np.ones(30, np.float32)))
    spell_out_silu(model)
    assert model.opset_imports[""] == 24


@pytest.mark.parametrize("name", ["android", pytest.param("apple", marks=pytest.mark.slow), "arm"])
def test_targets_quantize_it(network, tmp_path: Path, name: str):
    target, feeds = targets.get(name), next(iter(Pictures())).feeds
    statistics = collect_statistics(network, Pictures())
    assert "b" in statistics.tensors and "b_sigmoid" not in statistics.tensors
    model = quantize(network, statistics, target.scheme("w8a8"))
    ops = [node.op_type for node in model.graph]
    assert ops.count("Sigmoid") == 1 and ops.count("Mul") == 1 and "Swish" not in ops
    # the gate is a number of the kernel's own choice, or no number at all
    quantized = [n.inputs[0].name for n in model.graph if n.op_type == "QuantizeLinear"]
    assert ("b_sigmoid" in quantized) == (name != "apple")
    assert model.opset_imports[""] == 21
    expected = OrtSession(network).run(feeds)["y"]
    for precision, source, tolerance in (("fp32", network, 1e-5), ("w8a8", model, 0.03)):
        session = target.open(target.emit(source, tmp_path / precision, precision))
        found = session.run(feeds)["y"]
        session.close()
        assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max()


def test_a_file_for_arm_needs_no_newer_runtime(network, tmp_path: Path):
    artifact = targets.get("arm").emit(network, tmp_path, "fp32")
    assert load(artifact.path).opset_imports[""] == 21


def test_an_excluded_silu_is_float_as_a_whole(network):
    statistics = collect_statistics(network, Pictures())
    scheme = targets.get("android").scheme("w8a8")
    model = quantize(network, statistics, scheme, exclude=["silu"])
    names = [n.inputs[0].name for n in model.graph if n.op_type == "QuantizeLinear"]
    assert "b_sigmoid" not in names
