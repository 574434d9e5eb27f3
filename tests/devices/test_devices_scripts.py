"""What a device is asked, in the shell of this machine."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import pytest
from arm_board.namespace import programs

from edgewise.targets.validation.devices.scripts import look, read_look

_OF_THE_PROCESSOR = Path("/sys/devices/system/cpu/modalias")


@pytest.mark.skipif(not _OF_THE_PROCESSOR.exists(), reason="this kernel tells of no processor")
def test_an_older_kernel_tells_of_the_processor(tmp_path: Path) -> None:
    _, _, path = programs(tmp_path / "programs", cat="exit 1").partition("=")
    script = look([], "0123abcd")
    said = subprocess.run(["/bin/sh", "-c", script], env={"PATH": path}, capture_output=True)
    kernel = read_look(said.stdout.decode()).kernel
    assert kernel == {"x86_64": "x86", "aarch64": "aarch64"}[platform.machine()]
