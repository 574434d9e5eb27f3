"""NonMaxSuppression against ONNX Runtime: as many rows as boxes were selected."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgewise.errors import UnsupportedOperator


def _source(
    kit: Any, boxes: Any, scores: Any, most: int = 100, overlap: float = 0.4, **options: Any
) -> Any:
    constants = {"m": np.array([most]), "t": np.array([overlap], np.float32)}
    least = options.pop("least", None)
    if least is not None:
        constants["c"] = np.array([least], np.float32)
    layer = kit.node("NonMaxSuppression", ["b", "s", *constants], ["y"], **options)
    feeds = {"b": boxes, "s": scores}
    return kit.model([layer], feeds, {"y": np.int64}, constants), feeds


def _boxes(rng: Any, pictures: int, count: int, *, centred: bool = False) -> Any:
    found = rng.random((pictures, count, 4), np.float32)
    if centred:
        found[..., 2:] *= 0.4
    else:  # any two opposite corners
        found[..., 2:] = found[..., :2] + rng.uniform(-0.4, 0.4, (pictures, count, 2))
    return found.astype(np.float32)


@pytest.mark.parametrize("overlap", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize(("pictures", "classes"), [(1, 1), (1, 3), (2, 2)])
def test_selects_what_onnx_selects(
    execute: Any, kit: Any, rng: Any, pictures: int, classes: int, centred: bool, overlap: float
) -> None:
    boxes = _boxes(rng, pictures, 25, centred=centred)
    scores = rng.random((pictures, classes, 25), np.float32)
    for most, least in [(1, None), (5, 0.2), (100, 0.5), (100, 0.999)]:
        source, feeds = _source(
            kit, boxes, scores, most, overlap, least=least, center_point_box=int(centred)
        )
        assert execute(source, feeds).error == 0


@pytest.mark.parametrize("centred", [False, True])
def test_a_box_without_area_is_selected_once(
    execute: Any, kit: Any, rng: Any, centred: bool
) -> None:
    boxes = _boxes(rng, 1, 24, centred=centred) * 600
    boxes[:, ::3, 2] = 0 if centred else boxes[:, ::3, 0]
    boxes[:, ::5] = 0
    scores = rng.random((1, 2, 24), np.float32)
    source, feeds = _source(kit, boxes, scores, least=0.1, center_point_box=int(centred))
    run = execute(source, feeds)
    assert run.error == 0
    assert len(np.unique(run.outputs["y"], axis=0)) == len(run.outputs["y"])


def test_an_overlap_of_just_the_threshold_suppresses_nothing(execute: Any, kit: Any) -> None:
    boxes = np.array([[[0, 0, 1, 1], [0, 0.5, 1, 1]]], np.float32)  # IoU 0.5 exactly
    scores = np.array([[[0.9, 0.8]]], np.float32)
    source, feeds = _source(kit, boxes, scores, overlap=0.5)
    run = execute(source, feeds)
    assert run.error == 0 and len(run.outputs["y"]) == 2


def test_says_that_the_size_depends_on_the_data(execute: Any, kit: Any, rng: Any) -> None:
    source, feeds = _source(kit, _boxes(rng, 1, 8), rng.random((1, 1, 8), np.float32), 5)
    run = execute(source, feeds)
    (finding,) = [f for f in run.artifact.findings if f.rule == "android/data-dependent-size"]
    assert "at most 5" in finding.message
    assert run.artifact.manifest.outputs[0].shape == ("found", 3)


def test_what_reads_the_selection_cannot_be_lowered(execute: Any, kit: Any, rng: Any) -> None:
    feeds = {"b": _boxes(rng, 1, 8), "s": rng.random((1, 1, 8), np.float32)}
    nodes = [
        kit.node("NonMaxSuppression", ["b", "s", "m"], ["rows"]),
        kit.node("Gather", ["rows", "i"], ["y"], axis=1),
    ]
    constants = {"m": np.array([5]), "i": np.array(2)}
    source = kit.model(nodes, feeds, {"y": np.int64}, constants)
    with pytest.raises(UnsupportedOperator, match="only known once the model runs"):
        execute(source, feeds)


def test_no_box_at_all_is_refused(execute: Any, kit: Any, rng: Any) -> None:
    source, feeds = _source(kit, _boxes(rng, 1, 8), rng.random((1, 1, 8), np.float32), 0)
    with pytest.raises(UnsupportedOperator, match="may select no box"):
        execute(source, feeds)
