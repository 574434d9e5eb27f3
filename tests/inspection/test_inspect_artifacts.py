"""One model in all files: the same products and parameters, and the precision of each layer."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

import edgewise
from edgewise.inspection import ModelFacts, read
from edgewise.sample_models import digits

FOLDER = Path(digits.__file__).parent
Emit = Callable[..., ModelFacts]


@pytest.fixture(scope="module")
def emit(tmp_path_factory: pytest.TempPathFactory) -> Emit:
    """Facts of the digits network as a target writes it in a precision."""
    folder = tmp_path_factory.mktemp("artifacts")
    hub = folder / "hub.onnx"
    edgewise.export(FOLDER / "digits.onnx", out=hub)
    statistics = edgewise.calibrate(hub, FOLDER / "calibration.npz", limit=8)

    @cache
    def facts(target: str, precision: str, ort: bool = False) -> ModelFacts:
        made = edgewise.targets.get(target)
        model: object = hub
        if made.scheme(precision).is_quantized:
            model = edgewise.quantize(hub, statistics, target=target, precision=precision)
        options = edgewise.targets.EmitOptions(options={"ort_format": True} if ort else {})
        out = folder / f"{target}-{precision}-{ort}"
        artifact = made.emit(model, out, precision, options=options)  # type: ignore[arg-type]
        return read(artifact.path).facts

    return facts


def test_the_three_files_of_a_build_agree(emit: Emit) -> None:
    hub = emit("arm", "fp32")
    files = [emit(name, "w8a8") for name in ("android", "apple", "arm")]
    files.append(emit("arm", "w8a8", True))
    assert {facts.kind for facts in files} == {"tflite", "mlpackage", "onnx", "ort"}
    for facts in (*files, hub):
        assert facts.macs.total == hub.macs.total
        assert facts.parameters.count == hub.parameters.count
        assert not facts.macs.uncounted
        assert facts.size_bytes == sum(part.bytes for part in facts.parts)
    for facts in files:
        (share,) = facts.precisions.values()
        assert (*facts.precisions, share.layers) == ("w8a8", 17)
    peaks = {facts.kind: facts.memory.peak_bytes for facts in files}
    padded = peaks.pop("tflite")  # strided convolutions have a PAD before them there
    assert set(peaks.values()) == {20_480}
    assert padded == 20_480 + 14_400


@pytest.mark.parametrize(
    ("target", "precision", "layers"),
    [
        ("android", "fp32", {"fp32": 17}),
        ("android", "fp16", {"w16": 17}),
        ("android", "w8a16", {"w8a16": 17}),
        ("android", "w8", {"fp32": 16, "w8": 1}),  # the linear layer alone
        ("apple", "fp32", {"fp32": 17}),
        ("apple", "fp16", {"fp16": 17}),
        ("apple", "w8", {"w8": 7, "fp16": 10}),  # small weights stay as they are
        ("apple", "w4", {"w4": 7, "fp16": 10}),
        ("apple", "palette6", {"palette6": 7, "fp16": 10}),
        ("arm", "w8", {"fp32": 16, "w8": 1}),
        ("arm", "w4", {"fp32": 16, "w4": 1}),
    ],
)
def test_precision_of_the_layers(
    emit: Emit, target: str, precision: str, layers: dict[str, int]
) -> None:
    facts = emit(target, precision)
    assert {name: share.layers for name, share in facts.precisions.items()} == layers
    assert facts.macs.total == emit("arm", "fp32").macs.total


def test_what_a_runtime_plans(emit: Emit) -> None:
    memory = emit("android", "w8a8").memory
    assert memory.arena_bytes is not None and memory.peak_bytes is not None
    assert memory.peak_bytes <= memory.arena_bytes < 2 * memory.peak_bytes
    assert emit("arm", "w8a8").memory.arena_bytes is None


def test_what_a_device_must_have(emit: Emit) -> None:
    assert emit("android", "w8a8").needs["CONV_2D"] == "version 3"
    assert emit("apple", "w8a8").needs == {"system": "iOS17 or newer"}
    assert emit("apple", "fp16").needs == {"system": "iOS15 or newer"}
    assert emit("apple", "w8a8").versions["specification"] == "8"


def test_inputs_are_told_with_their_scale(emit: Emit) -> None:
    (image,) = emit("android", "w8a8").inputs
    assert image.dtype == "int8"
    assert image.scale is not None and image.scale > 0
    assert image.zero_point is not None
