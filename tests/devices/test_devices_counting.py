"""Instructions of real artifacts, and how the counter comes to be on a machine."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgewise.targets
from edgewise.errors import DeviceError
from edgewise.graph import load
from edgewise.stages import calibrate, emit_fp32, quantize
from edgewise.targets import Artifact
from edgewise.targets.validation import Instructions
from edgewise.targets.validation.devices.bundle.installation import Counter, Installation
from edgewise.targets.validation.devices.counter import build
from edgewise.targets.validation.devices.counter.build import build_counter
from edgewise.targets.validation.devices.counter.device import NOT_INSTALLED
from edgewise.targets.validation.instructions import count_instructions

REPEATABLE = 0.0005
SAMPLE = Path(str(resources.files("edgewise.sample_models.digits")))


@pytest.fixture(scope="module")
def counter(emulator: Installation) -> Counter:
    if emulator.counter is None:
        pytest.skip(NOT_INSTALLED)
    return emulator.counter


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Artifact, Artifact]]:
    """Digits in int8 and fp32, by target."""
    folder = tmp_path_factory.mktemp("digits")
    hub = load(SAMPLE / "digits.onnx")
    statistics = calibrate(hub, SAMPLE / "calibration.npz", limit=32)
    pairs = {}
    for name in ("arm", "android"):
        target = edgewise.targets.get(name)
        quantized = target.emit(quantize(hub, statistics, target=name), folder / name, "w8a8")
        fp32 = emit_fp32(quantized, hub, folder / "fp32")
        assert fp32 is not None
        pairs[name] = (quantized, fp32)
    return pairs


def counted(pair: tuple[Artifact, Artifact], cpu: str) -> Instructions:
    quantized, fp32 = pair
    name = quantized.manifest.inputs[0].name
    with np.load(SAMPLE / "evaluation.npz") as data:
        feeds = {name: data[name][:1]}
    target = edgewise.targets.get(quantized.target)
    return count_instructions(target, quantized, fp32, f"emulated:{cpu}", feeds)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["arm", "android"])
def test_counts_repeat_and_int8_takes_fewer(
    target: str, artifacts: dict[str, tuple[Artifact, Artifact]], counter: Counter
) -> None:
    first, second = (counted(artifacts[target], "cortex-a76") for _ in range(2))
    assert first.total is not None and second.total is not None
    assert first.fp32_total is not None and second.fp32_total is not None
    assert second.total == pytest.approx(first.total, rel=REPEATABLE)
    assert second.fp32_total == pytest.approx(first.fp32_total, rel=REPEATABLE)
    assert sum(first.by_class.values()) == first.total
    assert first.ratio is not None and first.ratio < 1
    assert first.by_class["dot"] > 0.1 * first.total
    assert first.by_class["mmla"] == first.by_class["sve"] == 0  # the core has none
    assert re.fullmatch(r"(ONNX Runtime|LiteRT) \d+\.\d+.*", str(first.runtime))
    assert (first.device, first.runs, first.reason) == ("emulated:cortex-a76", 3, None)


@pytest.mark.slow
def test_an_old_core_has_no_dot_products(
    artifacts: dict[str, tuple[Artifact, Artifact]], counter: Counter
) -> None:
    found = counted(artifacts["arm"], "cortex-a53")
    assert found.total is not None
    assert found.by_class["dot"] == 0 and found.by_class["simd"] > found.total / 4


def made(folder: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((folder / "counter.json").read_text())
    return document


@pytest.fixture
def copy(counter: Counter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what an earlier run left, made with the real emulator and its headers. Nothing
    builds QEMU anew: that takes minutes."""
    if not (counter.plugin.parent / "counter.json").exists():
        pytest.skip("the counter was not made by `edgewise emulator install`")
    monkeypatch.setattr(build, "build_qemu", lambda *_: pytest.fail("QEMU was to be built"))
    folder = tmp_path / "counter"
    shutil.copytree(counter.plugin.parent, folder)
    return folder


def test_what_fits_is_used_as_it_is(copy: Path) -> None:
    before = (copy / "edgecount.so").stat().st_mtime_ns
    assert build_counter(copy).plugin == copy / "edgecount.so"
    assert (copy / "edgecount.so").stat().st_mtime_ns == before


def test_a_changed_plugin_is_compiled_again(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = made(copy)
    changed = build._source() + b"/* changed */\n"
    monkeypatch.setattr(build, "_source", lambda: changed)
    build_counter(copy)
    after = made(copy)
    assert after["source"] != before["source"]
    assert {**after, "source": "", "plugin": ""} == {**before, "source": "", "plugin": ""}


def test_a_damaged_plugin_is_compiled_again(copy: Path) -> None:
    before = made(copy)
    (copy / "edgecount.so").write_bytes(b"damaged")
    build_counter(copy)
    assert (copy / "edgecount.so").read_bytes() != b"damaged"
    assert made(copy)["source"] == before["source"]


def test_a_plugin_that_does_not_compile_is_told_in_a_line(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (copy / "edgecount.so").read_bytes()
    monkeypatch.setattr(build, "_source", lambda: b"int nothing = here;\n")
    with pytest.raises(DeviceError, match="cannot compile the instruction counter") as caught:
        build_counter(copy)
    assert "here" in str(caught.value) and "\n" not in str(caught.value)
    assert (copy / "edgecount.so").read_bytes() == before


def test_a_plugin_that_counts_wrong_is_refused(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = (
        build._source()
        .replace(b"return BRANCH", b"return SIMD")
        .replace(b"return INTEGER", b"return SIMD")
    )
    monkeypatch.setattr(build, "_source", lambda: wrong)
    with pytest.raises(DeviceError, match="counts wrong"):
        build_counter(copy)


def test_a_qemu_with_plugins_on_path_is_used(
    counter: Counter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = tmp_path / "prefix"
    headers = counter.plugin.parent / "include"
    shutil.copytree(headers / "qemu", prefix / "include")
    (prefix / "bin").mkdir()
    shutil.copy(counter.qemu, prefix / "bin" / "qemu-aarch64")
    answers = prefix / "bin" / "pkg-config"
    answers.write_text(f"#!/bin/sh\necho -I{headers / 'glib'} -I{headers / 'glib-config'}\n")
    answers.chmod(answers.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{prefix / 'bin'}{os.pathsep}{os.environ['PATH']}")
    found = build_counter(tmp_path / "counter")
    assert found == Counter(
        (prefix / "bin" / "qemu-aarch64").resolve(), tmp_path / "counter" / "edgecount.so"
    )


def test_a_machine_without_a_compiler_is_told_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DeviceError) as caught:
        build_counter(tmp_path / "counter")
    assert str(caught.value) == (
        "the instruction counter cannot be built: this machine has no C compiler and no "
        "pkg-config. Install it: apt-get install build-essential pkg-config."
    )
    assert not list(tmp_path.iterdir())


def test_a_folder_that_qemu_cannot_be_built_in_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="whose name has blanks, colons or commas"):
        build_counter(tmp_path / "my counter")
