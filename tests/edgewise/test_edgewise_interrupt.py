"""Ctrl-C and termination in a process of its own: one line, the right code, nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")

SLOW = """\
import time
import numpy as np

def samples():
    for index in range(10_000):
        {body}
        yield {{"image": np.zeros((1, 3, 8, 8), np.float32)}}, None

def swallow():
    try:
        time.sleep(0.05)
    except BaseException:
        pass
"""


def interrupt(folder: Path, tiny: Any, body: str, number: int) -> subprocess.CompletedProcess[str]:
    """Send the signal once the data is being read."""
    (folder / "slow.py").write_text(SLOW.format(body=body))
    started = folder / "started"
    command = [
        sys.executable, "-m", "edgewise", "build", str(tiny.model), "--target", "arm",
        "--calibration", f"{folder / 'slow.py'}:samples", "--limit", "60",
        "--out", str(folder / "dist"),
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 60
        while not started.exists():
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.05)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    return subprocess.CompletedProcess(command, process.returncode, out, err)


@pytest.mark.parametrize(
    ("body", "number", "code"),
    [
        ("time.sleep(0.05)", signal.SIGINT, 130),
        ("swallow()", signal.SIGINT, 130),  # a library that catches everything
        ("time.sleep(0.05)", signal.SIGTERM, 143),
    ],
    ids=["ctrl-c", "swallowed", "terminated"],
)
def test_interrupted_builds(tiny: Any, tmp_path: Path, body: str, number: int, code: int) -> None:
    touch = f"open({str(tmp_path / 'started')!r}, 'w').close() if index == 20 else None; "
    run = interrupt(tmp_path, tiny, touch + body, number)
    assert (run.returncode, run.stdout, run.stderr) == (code, "", "error: interrupted\n")
    assert not (tmp_path / "dist").exists()


@pytest.mark.parametrize(("verb", "code"), [("calibrate", 141), ("help", 1)])
def test_a_reader_that_has_gone_is_no_error(
    tiny: Any, tmp_path: Path, verb: str, code: int
) -> None:
    work = [
        "calibrate", str(tiny.model), "--calibration", str(tiny.calibration),
        "--out", str(tmp_path / "statistics.npz"),
    ]  # fmt: skip
    command = [sys.executable, "-m", "edgewise", *(work if verb == "calibrate" else ["--help"])]
    reading, writing = os.pipe()
    os.close(reading)
    run = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (run.returncode, run.stderr) == (code, "")


def test_chatter_stays_off_both_streams(tiny: Any, tmp_path: Path) -> None:
    """Native and Python prints alike; with -v they are on stderr."""
    (tmp_path / "loud.py").write_text(
        "import os, sys, warnings\nimport numpy as np\n"
        "def samples():\n"
        "    os.write(1, b'native out\\n'); os.write(2, b'native err\\n')\n"
        "    print('python out'); warnings.warn('python err')\n"
        "    yield {'image': np.zeros((1, 3, 8, 8), np.float32)}, None\n"
    )
    command = [
        sys.executable, "-m", "edgewise", "calibrate", str(tiny.model),
        "--calibration", f"{tmp_path / 'loud.py'}:samples", "--out", str(tmp_path / "s.npz"),
    ]  # fmt: skip
    quiet = subprocess.run(command, capture_output=True, text=True, check=True)
    assert quiet.stdout == f"statistics: {tmp_path / 's.npz'} (1 samples)\n"
    assert quiet.stderr == ""
    loud = subprocess.run([*command, "-v"], capture_output=True, text=True, check=True)
    assert loud.stdout == quiet.stdout
    for said in ("native out", "native err", "python out", "python err"):
        assert said in loud.stderr
