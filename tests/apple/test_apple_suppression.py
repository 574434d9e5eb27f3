"""NonMaxSuppression against ONNX Runtime: as many rows as boxes were selected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from edgewise.errors import UnsupportedOperator
from edgewise.targets.apple import TARGET


def _source(
    make: Any, boxes: Any, scores: Any, most: int = 100, overlap: float = 0.4, **options: Any
) -> Any:
    constants = {"m": np.array([most]), "t": np.array([overlap], np.float32)}
    least = options.pop("least", None)
    if least is not None:
        constants["c"] = np.array([least], np.float32)
    node = helper.make_node("NonMaxSuppression", ["b", "s", *constants], ["y"], **options)
    feeds = {"b": boxes, "s": scores}
    return make.build_model([node], feeds, ["y"], constants), feeds


def _boxes(rng: Any, pictures: int, count: int, *, centred: bool = False) -> Any:
    found = rng.random((pictures, count, 4), np.float32)
    if centred:
        found[..., 2:] *= 0.4
    else:  # any two opposite corners
        found[..., 2:] = found[..., :2] + rng.uniform(-0.4, 0.4, (pictures, count, 2))
    return found.astype(np.float32)


@pytest.mark.parametrize("system", ["iOS15", "iOS17"])
@pytest.mark.parametrize(
    ("pictures", "classes", "centred", "overlap"),
    [(1, 1, False, 0.3), (1, 3, True, 0.5), (2, 2, False, 0.0), (2, 1, False, 1.0)],
)
def test_selects_what_onnx_selects(
    make: Any,
    matches_ort: Any,
    rng: Any,
    pictures: int,
    classes: int,
    centred: bool,
    overlap: float,
    system: str,
) -> None:
    boxes = _boxes(rng, pictures, 25, centred=centred)
    scores = rng.random((pictures, classes, 25), np.float32)
    for most, least in [(1, None), (5, 0.2), (100, 0.5)]:
        model, feeds = _source(
            make, boxes, scores, most, overlap, least=least, center_point_box=int(centred)
        )
        matches_ort(model, feeds, system=system)


@pytest.mark.parametrize("system", ["iOS15", "iOS17"])
def test_no_box_may_be_good_enough(make: Any, matches_ort: Any, rng: Any, system: str) -> None:
    """A score that is just the threshold is not."""
    scores = np.full((1, 1, 8), 0.7, np.float32)
    model, feeds = _source(make, _boxes(rng, 1, 8), scores, least=0.7)
    assert matches_ort(model, feeds, system=system)["y"].shape == (0, 3)


def test_a_box_without_area_is_selected(make: Any, matches_ort: Any, rng: Any) -> None:
    boxes = _boxes(rng, 1, 24) * 600
    boxes[:, ::3, 2] = boxes[:, ::3, 0]
    boxes[:, ::5] = 0
    scores = rng.random((1, 2, 24), np.float32)
    matches_ort(*_source(make, boxes, scores, least=0.1))


def test_an_overlap_of_just_the_threshold_suppresses_nothing(make: Any, matches_ort: Any) -> None:
    boxes = np.array([[[0, 0, 1, 1], [0, 0.5, 1, 1]]], np.float32)  # IoU 0.5 exactly
    scores = np.array([[[0.9, 0.8]]], np.float32)
    assert len(matches_ort(*_source(make, boxes, scores, overlap=0.5))["y"]) == 2


def test_the_manifest_tells_that_the_size_depends_on_the_data(
    make: Any, rng: Any, tmp_path: Path
) -> None:
    model, _ = _source(make, _boxes(rng, 1, 8), rng.random((1, 1, 8), np.float32))
    (output,) = TARGET.emit(model, tmp_path).manifest.outputs
    assert output.shape == output.hub_shape == ("y_size0", 3)


def test_what_reads_the_selection_cannot_be_lowered(make: Any, rng: Any, tmp_path: Path) -> None:
    feeds = {"b": _boxes(rng, 1, 8), "s": rng.random((1, 1, 8), np.float32)}
    nodes = [
        helper.make_node("NonMaxSuppression", ["b", "s", "m"], ["rows"]),
        helper.make_node("Gather", ["rows", "i"], ["y"], axis=1),
    ]
    constants = {"m": np.array([5]), "i": np.array(2)}
    with pytest.raises(UnsupportedOperator, match="only known once the model runs"):
        TARGET.emit(make.build_model(nodes, feeds, ["y"], constants), tmp_path)


def test_no_box_at_all_is_refused(make: Any, rng: Any, tmp_path: Path) -> None:
    model, _ = _source(make, _boxes(rng, 1, 8), rng.random((1, 1, 8), np.float32), 0)
    with pytest.raises(UnsupportedOperator, match="may select no box"):
        TARGET.emit(model, tmp_path)
