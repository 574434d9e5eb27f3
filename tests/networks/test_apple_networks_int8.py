"""Mainstream networks on Apple in int8, against ONNX Runtime's QDQ model, unfused.

Every layer with integer weights is in the form of Apple's own quantizers, in the finished program.
Fed with the QDQ model's own integers, every layer is the QDQ model's: in fp32 to within 1 LSB (and
almost everywhere exactly), in fp16 within what 11 bits can do (`apple/tolerances.py`).

Outputs of trained networks: in fp32 at least 40 dB above the difference. fp16 rounds in front of
every quantization, and flips one step in about a hundred; a network of many layers hands that on as
it hands on a step of a single input pixel, which ONNX Runtime itself answers with a difference of
24 dB in EfficientNet-Lite0. What can be asked of fp16 is that it is as near to the float network as
the QDQ model is, and tells the same classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from zoo.apple_figures import SHIFT
from zoo.hub import hub_model
from zoo.source import Samples
from zoo.table import NETWORKS, Network

from edgewise.calibration import collect_statistics, quantize
from edgewise.data.source import Sample
from edgewise.exporters import export
from edgewise.graph import OrtSession
from edgewise.targets import Artifact, EmitOptions
from edgewise.targets.apple import TARGET
from edgewise.targets.validation.layers import compare_layers

Array = np.ndarray[Any, Any]

#: each takes longer than the others, and has no kind of layer that they have not
_LEFT_OUT = ("deeplab_mobilenet", "densenet121", "inception_v3", "resnet_50")
#: their cells are computed in float
_RECURRENT = ("crnn_gru", "lstm_tagger")


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=pytest.mark.slow if network.slow else ())
        for name, network in NETWORKS.items()
        if name not in _LEFT_OUT
    ],
)
def quantized(request: pytest.FixtureRequest) -> tuple[str, Network, ir.Model]:
    network, hub = NETWORKS[request.param], hub_model(request.param, shift=SHIFT)
    statistics = collect_statistics(hub, Samples(network, 4, seed=3))
    return request.param, network, quantize(hub, statistics, TARGET.scheme("w8a8"))


def _emitted(model: ir.Model, folder: Path, compute: str) -> Artifact:
    return TARGET.emit(model, folder, "w8a8", options=EmitOptions(options={"compute": compute}))


@pytest.mark.parametrize("compute", ["fp32", "fp16"])
def test_layers(quantized: tuple[str, Network, ir.Model], tmp_path: Path, compute: str) -> None:
    name, network, model = quantized
    artifact = _emitted(model, tmp_path, compute)
    form = artifact.manifest.options["quantized_form"]
    assert form["layers"] and form["in_form"] == form["layers"], form["outside"]
    assert name in _RECURRENT or not form["float_layers"]
    feeds = [sample.feeds for sample in Samples(network, 1, seed=4)]
    report = compare_layers(model, artifact, feeds)
    assert report.layers and not report.beyond, "\n".join(map(str, report.beyond))
    layers = [layer for layer in report.layers if layer.operators[-1] == "quantize"]
    elements = sum(layer.elements for layer in layers)
    different = sum(layer.different * layer.elements for layer in layers) / elements
    assert different < (0.03 if compute == "fp16" else 0.005)


class _Digits:
    """The packaged pictures of digits as a data source."""

    description = "digits"
    labelled = False
    class_names = ()
    fingerprint = "digits"

    def __init__(self, name: str, part: str, count: int) -> None:
        self.findings: list[Any] = []
        with np.load(str(files("edgewise.sample_models.digits") / part)) as arrays:
            pictures = next(a for a in arrays.values() if a.dtype == np.float32)
            self.feeds = [{name: picture[None]} for picture in pictures[:count]]

    def __len__(self) -> int:
        return len(self.feeds)

    def __iter__(self) -> Any:
        return (Sample(feeds) for feeds in self.feeds)


def _sqnr(found: Sequence[Array], expected: Sequence[Array]) -> float:
    signal = np.concatenate([array.ravel() for array in expected]).astype(np.float64)
    noise = np.concatenate([array.ravel() for array in found]) - signal
    return float(10 * np.log10((signal**2).sum() / max((noise**2).sum(), 1e-30)))


def _trained(name: str) -> tuple[ir.Model, Any, list[dict[str, Array]]]:
    """The hub model, data to calibrate with, and inputs."""
    if name == "digits":
        hub = export(str(files("edgewise.sample_models.digits") / "digits.onnx")).model
        port = hub.graph.inputs[0].name or ""
        data = _Digits(port, "calibration.npz", 60)
        return hub, data, _Digits(port, "evaluation.npz", 60).feeds
    network = NETWORKS[name]
    hub = hub_model(name, shift=SHIFT)
    return hub, Samples(network, 4, seed=3), [s.feeds for s in Samples(network, 4, seed=4)]


@pytest.mark.parametrize(
    "name", ["digits", pytest.param("efficientnet_lite0", marks=pytest.mark.slow)]
)
def test_trained(name: str, tmp_path: Path) -> None:
    hub, data, feeds = _trained(name)
    model = quantize(hub, collect_statistics(hub, data), TARGET.scheme("w8a8"))
    output = model.graph.outputs[0].name or ""

    def run(session: Any) -> list[Array]:
        return [session.run(feed)[output] for feed in feeds]

    real, expected = run(OrtSession(hub)), run(OrtSession(model, optimize="none"))
    exact = run(TARGET.open(_emitted(model, tmp_path / "fp32", "fp32")))
    assert _sqnr(exact, expected) >= 40
    rounded = run(TARGET.open(_emitted(model, tmp_path / "fp16", "fp16")))
    assert _sqnr(rounded, real) > _sqnr(expected, real) - 1
    classes = [[array.argmax() for array in arrays] for arrays in (rounded, expected)]
    assert classes[0] == classes[1]
