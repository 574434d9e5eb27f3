"""Transpositions that meet: as few as coremltools leaves, and the same bytes each time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from edgewise.targets.apple import TARGET, passes
from edgewise.targets.apple.interpreter import program as package_file

INPUTS = 6
#: those that are needed transposed, too
NEEDED = (0, 1, 3, 4)


def _meeting(make):
    """Transposed inputs are added and transposed back, and some are needed as they are, too."""
    letters = range(INPUTS)
    nodes = [helper.make_node("Transpose", [f"x{i}"], [f"t{i}"], perm=[0, 2, 1]) for i in letters]
    nodes += [
        helper.make_node("Sum", [f"t{i}" for i in letters], ["sum"]),
        helper.make_node("Transpose", ["sum"], ["y"], perm=[0, 2, 1]),
        *(helper.make_node("Cast", [f"t{i}"], [f"c{i}"], to=6) for i in NEEDED),
        *(helper.make_node("Flatten", [f"c{i}"], [f"f{i}"]) for i in NEEDED),
    ]
    feeds = {f"x{i}": make.random(2, 3, 4, seed=i) for i in letters}
    return make.build_model(nodes, feeds, ["y", *(f"f{i}" for i in NEEDED)]), feeds


def _packages(model, folder: Path, times: int) -> set[bytes]:
    found, kept = set(), []
    for count in range(times):
        kept.append([object() for _ in range(1000 * count)])  # moves the objects to other places
        artifact = TARGET.emit(model, folder / str(count), "fp32")
        found.add((artifact.path / "Data/com.apple.CoreML/model.mlmodel").read_bytes())
    return found


def test_the_same_bytes_wherever_objects_lie(make, tmp_path):
    model, _ = _meeting(make)
    assert len(_packages(model, tmp_path, 8)) == 1


def test_coremltools_own_pass_still_depends_on_it(make, tmp_path, monkeypatch):
    """The reason for ours."""
    theirs = [name.replace("edgewise::", "common::") for name in passes._FUSIONS]
    monkeypatch.setattr(passes, "_FUSIONS", theirs)
    model, _ = _meeting(make)
    assert len(_packages(model, tmp_path, 8)) > 1, "coremltools has been repaired: use its pass"


def test_inverses_cancel(make, matches_ort, tmp_path):
    model, feeds = _meeting(make)
    matches_ort(model, feeds)
    function = package_file.load_program(tmp_path / "out/model.mlpackage", None).function
    kinds = [operation.op_type for operation in function.operations]
    assert kinds.count("transpose") == len(NEEDED)


@pytest.mark.parametrize("condition", [True, False])
def test_functions_with_control_flow_are_left_alone(make, matches_ort, condition):
    x = make.random(2, 3, 4)
    there = helper.make_node("Transpose", ["x"], ["t"], perm=[0, 2, 1])
    bodies = [
        helper.make_graph(
            [helper.make_node(kind, ["t"], [kind])],
            kind,
            [],
            [helper.make_tensor_value_info(kind, 1, (2, 4, 3))],
        )
        for kind in ("Relu", "Neg")
    ]
    choice = helper.make_node("If", ["b"], ["c"], then_branch=bodies[0], else_branch=bodies[1])
    back = helper.make_node("Transpose", ["c"], ["y"], perm=[0, 2, 1])
    feeds = {"x": x, "b": np.array(condition)}
    matches_ort(make.build_model([there, choice, back], feeds, ["y"]), feeds)
