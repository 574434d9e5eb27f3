"""What a report of layers says, and which artifacts cannot be taken apart."""

from __future__ import annotations

from pathlib import Path

import pytest

import edgewise.targets
from edgewise.errors import UsageError
from edgewise.report import wording
from edgewise.targets.layerwise import LayerDifference, LayerReport
from edgewise.targets.validation import compare_layers
from edgewise.targets.validation.layers import layer_findings, summary
from edgewise.targets.validation.results import Layers, NoiseFloor


def layer(
    node: str, most: float, *, elements: int = 100, tolerance: float = 1.0
) -> LayerDifference:
    return LayerDifference(
        node, f"{node}_q", ("PAD", "CONV_2D"), elements, most, most - 1, most / 100, tolerance
    )


def test_the_worst_layer_is_the_one_furthest_off_its_own_limit() -> None:
    report = LayerReport((layer("a", 1), layer("b", 3, tolerance=4), layer("c", 2)), 2)
    assert report.worst is not None and report.worst.node == "c"
    assert [one.node for one in report.beyond] == ["c"]


def test_summary_weighs_layers_by_their_elements() -> None:
    report = LayerReport((layer("a", 1, elements=300), layer("b", 3, elements=100)), 2)
    found = summary(report)
    assert found == Layers(3, 2, pytest.approx(0.015), 1, "b", 2, 2)


def test_nothing_to_compare() -> None:
    assert summary(LayerReport((), 0)).reason == "no layer of the artifact could be compared"


def test_each_layer_beyond_its_limit_is_named_the_worst_first() -> None:
    report = LayerReport(tuple(layer(f"n{most}", most) for most in range(9)), 2)
    findings = layer_findings(report)
    assert [finding.node for finding in findings] == ["n8", "n7", "n6", "n5", "n4", ""]
    assert "PAD + CONV_2D differs from it by up to 8 LSB (limit 1), on 8.00%" in (
        findings[0].message
    )
    assert "2 more layers" in findings[-1].message


def test_targets_that_cannot_take_artifacts_apart(
    classifier: tuple[Path, Path], tmp_path: Path
) -> None:
    artifact = edgewise.targets.get("arm").emit(classifier[1], tmp_path, "w8a8")
    with pytest.raises(UsageError, match="arm target cannot be compared by layers"):
        compare_layers(classifier[1], artifact, [])


def test_a_float_model_has_no_integers_to_compare(
    classifier: tuple[Path, Path], tmp_path: Path
) -> None:
    artifact = edgewise.targets.get("android").emit(classifier[0], tmp_path, "fp32")
    with pytest.raises(UsageError, match="there are none"):
        compare_layers(classifier[0], artifact.path, [])


def test_wording() -> None:
    assert wording._layers(Layers(1, 0, 0, 0, "a", 65, 2)) == (
        "65 layers within 1 LSB of the QDQ model"
    )
    assert wording._layers(Layers(3, 0, 0, 2, "a", 65, 2)).endswith(", 2 above their limit")
    assert wording._layers(Layers.not_measured("no data")) == "layers not compared: no data"
    assert wording._layers(None) == wording._floor(None) == ""
    assert wording._floor(NoiseFloor(3, 1, 0.99, 300)) == (
        "ONNX Runtime differs from itself by 3 LSB, argmax 99.00 %"
    )
