"""ARM64 code under the emulator: the same bits on every core, in both runtimes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import edgewise.targets
from edgewise.targets.base import Array, Session
from edgewise.targets.manifest import load_artifact
from edgewise.targets.validation import validate
from edgewise.targets.validation.devices import connected
from edgewise.targets.validation.devices.bundle.installation import Installation

pytestmark = pytest.mark.slow

SAMPLE = Path(__file__).resolve().parents[2] / "sample_models" / "digits"
CORES = ("cortex-a53", "cortex-a76", "max")  # without dot products, with them, and with all
COUNT = 20


@pytest.fixture(scope="module")
def pictures() -> Array:
    with np.load(SAMPLE / "evaluation.npz") as data:
        found: Array = data["image"][:COUNT]
        return found


def outputs(session: Session, pictures: Array) -> Array:
    found = [session.run({"image": pictures[i : i + 1]}) for i in range(len(pictures))]
    session.close()
    return np.concatenate([next(iter(item.values())) for item in found])


def test_all_cores_give_the_same_bits(
    emulator: Installation, digits: Path, pictures: Array
) -> None:
    kept: dict[str, Array] = {}
    for core in CORES:
        with connected(f"emulated:{core}") as link:
            for name in ("android", "arm"):
                artifact = load_artifact(digits / name)
                session = edgewise.targets.get(name).open(artifact, f"emulated:{core}")
                found = outputs(session, pictures)
                assert np.array_equal(found, kept.setdefault(name, found)), (core, name)
            assert link.findings == ()


def test_an_emulated_core_is_not_timed_and_is_no_x86(emulator: Installation, digits: Path) -> None:
    result = validate(
        digits / "arm",
        reference=digits / "stages" / "qdq-arm.onnx",
        hub=digits / "stages" / "hub.onnx",
        device="emulated:cortex-a53",
    )
    assert result.latency.median_ms is None and "emulated" in (result.latency.reason or "")
    assert result.facts is not None and result.facts.cpu == "Cortex-A53"
    assert (result.facts.machine, result.facts.load) == ("aarch64", None)
    assert not [f for f in result.findings if "x86" in f.rule or "host" in f.rule]
