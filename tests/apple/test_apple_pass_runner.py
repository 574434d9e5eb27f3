"""What a conversion leaves out of coremltools' own runner, and what it keeps."""

from __future__ import annotations

import gc

import pytest
from onnx import helper

from edgewise.errors import InternalError
from edgewise.targets.apple import TARGET
from edgewise.targets.apple import package as package_module
from edgewise.targets.apple._coremltools import PassPipeline, PassPipelineManager, Program, ct
from edgewise.targets.apple._coremltools import converters_entry as converter
from edgewise.targets.apple.legalize import legalize
from edgewise.targets.apple.lower import lower
from edgewise.targets.apple.pass_runner import passes_alone
from edgewise.targets.apple.table import is_known


@pytest.fixture
def model(make):
    return make.build_model([helper.make_node("Relu", ["x"], ["y"])], {"x": make.random(2)}, ["y"])


def test_nothing_is_collected_printed_or_checked_in_between(model, tmp_path, monkeypatch):
    calls: list[str] = []
    checked = Program.validate
    monkeypatch.setattr(gc, "collect", lambda *_: calls.append("collect"))
    monkeypatch.setattr(Program, "__str__", lambda _: calls.append("print") or "")
    monkeypatch.setattr(
        Program, "validate", lambda self, **known: calls.append("check") or checked(self, **known)
    )
    TARGET.emit(model, tmp_path, "fp16")
    assert calls == ["check"] * 4, "behind either list of passes, and twice by the writer"


@pytest.mark.parametrize("broken", [False, True])
def test_coremltools_is_left_as_it_was(model, tmp_path, monkeypatch, broken):
    runner = vars(PassPipelineManager)["apply_pipeline"]
    if broken:
        monkeypatch.setattr(ct, "convert", lambda *_, **__: 1 / 0)
        with pytest.raises(InternalError, match="ZeroDivisionError"):
            TARGET.emit(model, tmp_path, "fp32")
    else:
        TARGET.emit(model, tmp_path, "fp32")
    assert vars(PassPipelineManager)["apply_pipeline"] is runner
    assert converter.gc is gc


def test_a_broken_program_is_found(model):
    program = lower(legalize(model, is_known), "iOS15").program
    program.functions["main"].inputs["x"]._child_ops.clear()
    pipeline = PassPipeline(["common::noop_elimination"], "one")
    with passes_alone(), pytest.raises(Exception, match="should be consumed by op"):
        PassPipelineManager.apply_pipeline(program, pipeline)


def test_the_manifest_lists_the_passes(model, tmp_path):
    listed = TARGET.emit(model, tmp_path, "fp16").manifest.options["passes"]
    assert listed == list(package_module.pipeline("fp16").passes)
