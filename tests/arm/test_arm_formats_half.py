"""fp16: what is stored, what is computed, and that it is right on cores with and without it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from edgewise.errors import UsageError
from edgewise.graph import OrtSession, load, prepare
from edgewise.targets import EmitOptions
from edgewise.targets.arm import TARGET
from edgewise.targets.arm.half import compute_in_half, store_as_half

Cnn = tuple[Path, Path]


def pictures(count: int = 4) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(7)
    return {"image": generator.standard_normal((count, 3, 16, 16)).astype(np.float32)}


@pytest.mark.parametrize(("compute", "limit"), [("fp32", 2e-3), ("fp16", 5e-3)])
def test_outputs(compute: str, limit: float, cnn: Cnn, tmp_path: Path) -> None:
    options = EmitOptions(options={"compute": compute})
    artifact = TARGET.emit(cnn[0], tmp_path, "fp16", options=options)
    onnx.checker.check_model(onnx.load(artifact.path), full_check=True)
    found = TARGET.open(artifact).run(pictures())["logits"]
    expected = OrtSession(cnn[0]).run(pictures())["logits"]
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() < limit * np.abs(expected).max()
    assert artifact.manifest.options["compute"] == compute


def test_only_weights_change_where_float32_is_computed(cnn: Cnn, tmp_path: Path) -> None:
    options = EmitOptions(options={"compute": "fp32"})
    graph = load(TARGET.emit(cnn[0], tmp_path, "fp16", options=options).path).graph
    kinds = Counter(node.op_type for node in graph)
    assert kinds["Cast"] == 3  # the three weights; biases have fewer than 32 elements
    stored = {v.name: v.const_value for v in graph.initializers.values() if v.const_value}
    halves = [name for name, tensor in stored.items() if tensor.dtype is ir.DataType.FLOAT16]
    assert sorted(halves) == ["w1_half", "w2_half", "w3_half"]


def test_only_convolutions_and_what_is_between_compute_in_float16(cnn: Cnn) -> None:
    model = prepare(cnn[0])
    assert compute_in_half(model)
    halves = {n.name for n in model.graph if n.outputs[0].dtype is ir.DataType.FLOAT16}
    assert {"conv1", "relu1", "conv2", "add"} <= halves
    assert not halves & {"mean", "flatten", "classifier"}
    assert str(model.graph.outputs[0].name) == "logits"


def test_average_pool_stays_float32() -> None:
    """onnxruntime 1.32 refuses a float16 one on cores with float16 arithmetic."""
    x = ir.val("x", ir.DataType.FLOAT, [1, 4, 8, 8])
    weight = np.ones((4, 4, 3, 3), np.float32)
    w = ir.Value(name="w", const_value=ir.tensor(weight, name="w"))
    conv = ir.node("Conv", [x, w], name="conv")
    pool = ir.node("AveragePool", conv.outputs, {"kernel_shape": [2, 2]}, name="pool")
    pool.outputs[0].name = "y"
    graph = ir.Graph(
        [x], pool.outputs, nodes=[conv, pool], initializers=[w], opset_imports={"": 21}
    )
    model = prepare(ir.Model(graph, ir_version=10))
    assert compute_in_half(model)
    assert model.graph.node("conv").outputs[0].dtype is ir.DataType.FLOAT16
    assert model.graph.node("pool").inputs[0].dtype is ir.DataType.FLOAT  # type: ignore[union-attr]


def test_constants_beyond_float16_stay(cnn: Cnn) -> None:
    model = prepare(cnn[0])
    weight = model.graph.initializers["w3"]
    weight.const_value = ir.tensor(weight.const_value.numpy() * 1e6, name="w3")  # type: ignore[union-attr]
    (finding,) = store_as_half(model)
    assert finding.rule == "arm/float32-constant"
    assert "'w3'" in finding.message
    assert "w3" in model.graph.initializers


def test_same_bytes_twice(cnn: Cnn, tmp_path: Path) -> None:
    first, again = (TARGET.emit(cnn[0], tmp_path / name, "fp16") for name in "12")
    assert first.path.read_bytes() == again.path.read_bytes()


def test_options() -> None:
    with pytest.raises(UsageError, match=r"option 'compute' is 'int8'\. Allowed"):
        TARGET.check_options({"compute": "int8"}, "fp16")
    with pytest.raises(UsageError, match="'compute' has no meaning in precision fp32"):
        TARGET.check_options({"compute": "fp16"}, "fp32")
    with pytest.raises(UsageError, match="'ort_format' and precision fp16 exclude each other"):
        TARGET.check_options({"ort_format": True}, "fp16")


def test_old_and_new_cores(cnn: Cnn, tmp_path: Path, cores: tuple[str, str]) -> None:
    """A Cortex-A53 has no float16 arithmetic: it gives what this machine gives but for sums."""
    artifact = TARGET.emit(cnn[0], tmp_path, "fp16")
    expected = OrtSession(cnn[0]).run(pictures())["logits"]
    for core in cores:
        session = TARGET.open(artifact, core)
        found = session.run(pictures())["logits"]
        session.close()
        assert np.abs(found - expected).max() < 1e-2 * np.abs(expected).max(), core
