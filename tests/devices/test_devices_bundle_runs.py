"""The real bundle under emulation: both runtimes on every core, with the same bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgewise import targets
from edgewise.targets.base import Array, Artifact
from edgewise.targets.validation.devices import connected
from edgewise.targets.validation.devices.address import EMULATED_CPUS, DeviceAddress
from edgewise.targets.validation.devices.bundle.archive import tree_digest
from edgewise.targets.validation.devices.bundle.installation import Installation, cache_folder
from edgewise.targets.validation.devices.bundle.tools import run_tool
from edgewise.targets.validation.devices.emulated import EmulatedDevice

_STEP = 0.05
_SAMPLES = [
    {"image": image}
    for image in np.random.default_rng(3).uniform(-6, 6, (3, 1, 8, 9, 9)).astype(np.float32)
]


def _quantized_convolution() -> onnx.ModelProto:
    """Weights and values are small: no intermediate of 16 bits would overflow."""
    weights = np.random.default_rng(5).integers(-40, 41, (16, 8, 3, 3)).astype(np.int8)
    constants = {
        "weights": weights,
        "step": np.float32(_STEP),
        "wide": np.float32(0.5),
        "small": np.float32(0.01),
        "zero": np.int8(0),
    }
    ends = {"image": [1, 8, 9, 9], "scores": [1, 16, 7, 7]}
    values = {k: helper.make_tensor_value_info(k, TensorProto.FLOAT, v) for k, v in ends.items()}
    nodes = [
        helper.make_node("QuantizeLinear", ["image", "step", "zero"], ["image_q"]),
        helper.make_node("DequantizeLinear", ["image_q", "step", "zero"], ["image_dq"]),
        helper.make_node("DequantizeLinear", ["weights", "small", "zero"], ["weights_dq"]),
        helper.make_node("Conv", ["image_dq", "weights_dq"], ["raw"], name="conv"),
        helper.make_node("QuantizeLinear", ["raw", "wide", "zero"], ["raw_q"]),
        helper.make_node("DequantizeLinear", ["raw_q", "wide", "zero"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "convolution",
        [values["image"]],
        [values["scores"]],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    """One TFLite and one ONNX file of the same convolution."""
    folder = tmp_path_factory.mktemp("emulated")
    onnx.save(_quantized_convolution(), folder / "qdq.onnx")
    return {
        name: targets.get(name).emit(folder / "qdq.onnx", folder / name, "w8a8")
        for name in ("android", "arm")
    }


def _outputs(artifact: Artifact, device: str) -> list[Array]:
    session = targets.get(artifact.manifest.target).open(artifact, device)
    try:
        return [session.run(sample)["scores"] for sample in _SAMPLES]
    finally:
        session.close()


@pytest.fixture(scope="module")
def first_core(artifacts: dict[str, Artifact], emulator: Installation) -> dict[str, list[Array]]:
    device = f"emulated:{emulator.cpus[0]}"
    with connected(device):
        return {name: _outputs(artifact, device) for name, artifact in artifacts.items()}


@pytest.mark.parametrize("cpu", EMULATED_CPUS)
def test_both_runtimes_give_the_same_bits_on_every_core(
    cpu: str,
    artifacts: dict[str, Artifact],
    first_core: dict[str, list[Array]],
    emulator: Installation,
) -> None:
    if cpu not in emulator.cpus:
        pytest.skip(f"QEMU {emulator.qemu_version} does not know {cpu}")
    device = f"emulated:{cpu}"
    with connected(device) as link:
        assert link.hello["machine"] == "aarch64"
        found = {name: _outputs(artifact, device) for name, artifact in artifacts.items()}
    for name, outputs in found.items():
        np.testing.assert_array_equal(outputs, first_core[name])
        assert len(np.unique(outputs)) > 50  # values, not constants


@pytest.mark.parametrize("target", ["android", "arm"])
def test_a_core_agrees_with_this_machine(
    target: str, artifacts: dict[str, Artifact], first_core: dict[str, list[Array]]
) -> None:
    here = _outputs(artifacts[target], "local")
    np.testing.assert_allclose(first_core[target], here, atol=0.5 + 1e-6, rtol=0)  # one step


def test_the_bundle_is_as_it_says(emulator: Installation) -> None:
    """Nothing was written into it since it was made, though it has run."""
    bundle = emulator.bundle
    described = bundle.root / "bundle.json"
    content = described.read_bytes()
    assert bundle.digest in content.decode()
    assert bundle.archive.stat().st_size < 150e6
    assert tree_digest(bundle.root, without=[described]) == bundle.digest


def test_the_bundle_uses_nothing_of_this_machine(emulator: Installation) -> None:
    program = (
        "import sys; sys.path.append(sys.argv[1])\nimport onnxruntime\n"
        "from ai_edge_litert import interpreter\n"
        "files = {line.split()[-1] for line in open('/proc/self/maps') if '.so' in line}\n"
        "files |= {m.__file__ for m in sys.modules.values() if getattr(m, '__file__', None)}\n"
        "print(*files, sep='\\n')"
    )
    bundle = emulator.bundle
    qemu = EmulatedDevice(DeviceAddress.of(f"emulated:{emulator.cpus[0]}"), emulator).emulation()
    said = run_tool(
        [*qemu, *bundle.python(), "-c", program, str(bundle.root / "site")],
        environment={"ORT_DISABLE_TELEMETRY": "1"},
    )
    files = [Path(line) for line in said.splitlines()]
    assert len(files) > 100
    assert [str(path) for path in files if not path.is_relative_to(bundle.root)] == []


def test_a_runner_writes_nothing_into_the_home_of_the_user(
    artifacts: dict[str, Artifact],
    emulator: Installation,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As ONNX Runtime does with its telemetry, where nobody tells it not to."""
    monkeypatch.delenv("CI", raising=False)  # with which it does not
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("EDGEWISE_CACHE", str(cache_folder()))
    monkeypatch.setenv("HOME", str(tmp_path))
    _outputs(artifacts["arm"], f"emulated:{emulator.cpus[0]}")
    assert list(tmp_path.iterdir()) == []


def test_a_runner_tells_the_versions_of_its_runtimes(emulator: Installation) -> None:
    with connected("emulated:cortex-a53") as link:
        told = link.hello["versions"]
    names = ("ai-edge-litert", "numpy", "onnxruntime")
    assert told == {name: emulator.bundle.versions[name] for name in names}
