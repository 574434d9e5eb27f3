"""s8s8, u8s8 and u8u8: each runs in integers, and gives what its QDQ model says on every core."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from feed_source import FeedSource

from edgewise.calibration import collect_statistics, quantize
from edgewise.errors import UsageError
from edgewise.graph import OrtSession, constant, load, prepare
from edgewise.graph.quantized import DEQUANTIZE, QUANTIZE
from edgewise.targets import EmitOptions
from edgewise.targets.arm import TARGET
from edgewise.targets.arm.fusion import optimize_as_on_arm
from edgewise.targets.arm.schemes import FORMATS

Cnn = tuple[Path, Path]


def pictures(count: int = 8) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(7)
    return {"image": generator.standard_normal((count, 3, 16, 16)).astype(np.float32)}


def quantized(source: Path, form: str) -> ir.Model:
    hub = prepare(source)
    statistics = collect_statistics(hub, FeedSource([pictures()]))
    return quantize(hub, statistics, TARGET.scheme("w8a8", {"format": form}))


def lsb(found: np.ndarray, model: ir.Model) -> float:
    """Largest difference from the QDQ model, computed literally, in steps of its output."""
    expected = OrtSession(model).run(pictures())["logits"]
    producer = model.graph.outputs[0].producer()
    scale = constant(producer.inputs[1]) if producer is not None else None
    assert scale is not None
    return float(np.abs(found - expected).max() / scale.reshape(()))


@pytest.mark.parametrize("form", FORMATS)
def test_everything_runs_in_integers(form: str, cnn: Cnn, tmp_path: Path) -> None:
    model = quantized(cnn[0], form)
    options = EmitOptions(options={"format": form})
    artifact = TARGET.emit(model, tmp_path, "w8a8", options=options)
    assert artifact.findings == ()
    assert artifact.manifest.options["format"] == form
    written = load(artifact.path)
    counts = Counter(node.op_type for node in optimize_as_on_arm(written).graph)
    assert counts == {
        "QuantizeLinear": 1, "QLinearConv": 2, "QLinearAdd": 1, "QLinearGlobalAveragePool": 1,
        "Reshape": 1, "QGemm": 1, "DequantizeLinear": 1,
    }  # fmt: skip
    assert lsb(TARGET.open(artifact).run(pictures())["logits"], model) <= 1.001


@pytest.mark.parametrize("form", FORMATS)
def test_stored_types(form: str, cnn: Cnn) -> None:
    activation, weight = FORMATS[form]
    graph = quantized(cnn[0], form).graph
    stored = {n.outputs[0].dtype.numpy().name for n in graph if n.op_type == QUANTIZE}  # type: ignore[union-attr]
    assert stored == {activation}
    constants = [constant(n.inputs[0]) for n in graph if n.op_type == DEQUANTIZE]
    found = {a.dtype.name for a in constants if a is not None}
    assert found == {weight, "int32"}


def test_weights_without_sign_have_one_zero_point(cnn: Cnn) -> None:
    """QLinearConv wants the same for all channels."""
    graph = quantized(cnn[0], "u8u8").graph
    points = [
        constant(n.inputs[2])
        for n in graph
        if n.op_type == DEQUANTIZE and n.inputs[0] is not None and n.inputs[0].dtype is not None
        and constant(n.inputs[0]) is not None and n.inputs[0].dtype is ir.DataType.UINT8
    ]  # fmt: skip
    assert len(points) == 3
    assert all(p is not None and p.size > 1 and (p == 128).all() for p in points)


def test_another_format_than_asked_is_remarked(cnn: Cnn, tmp_path: Path) -> None:
    artifact = TARGET.emit(quantized(cnn[0], "u8u8"), tmp_path, "w8a8")
    assert [finding.rule for finding in artifact.findings] == ["arm/not-s8s8"]
    assert "are u8u8, not s8s8" in artifact.findings[0].message
    assert artifact.manifest.options["format"] == "u8u8"


def test_options() -> None:
    with pytest.raises(UsageError, match=r"option 'format' is 's8u8'\. Allowed: s8s8, u8s8"):
        TARGET.scheme("w8a8", {"format": "s8u8"})
    with pytest.raises(UsageError, match="'format' has no meaning in precision fp32"):
        TARGET.check_options({"format": "u8u8"}, "fp32")


def test_cores_give_the_same_bits(cnn: Cnn, tmp_path: Path, cores: tuple[str, str]) -> None:
    for form in FORMATS:
        model = quantized(cnn[0], form)
        options = EmitOptions(options={"format": form})
        artifact = TARGET.emit(model, tmp_path / form, "w8a8", options=options)
        outputs = []
        for core in cores:
            session = TARGET.open(artifact, core)
            outputs.append(session.run(pictures())["logits"])
            session.close()
        np.testing.assert_array_equal(outputs[0], outputs[1], err_msg=form)
        assert lsb(outputs[0], model) <= 1.001, form
