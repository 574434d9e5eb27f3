"""A session on a device is one on this machine, but for where it runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from plain_runner import DIE, PlainDevice

import edgewise.targets
from edgewise.data.source import Sample
from edgewise.errors import DataError, DeviceError, ModelError, UsageError
from edgewise.targets.base import Artifact, EmitOptions
from edgewise.targets.manifest import load_artifact
from edgewise.targets.validation import LatencyPlan, validate
from edgewise.targets.validation.devices import DeviceSession, connections

DEVICE = "ssh://plain"
QUICK = LatencyPlan(warmup_seconds=0.0, warmup_runs=2, blocks=6, block_seconds=0.001)
RUNTIMES = {"android": "litert", "arm": "onnxruntime"}


def network(batch: int | str = "n") -> ir.Model:
    """Two products with an activation, over rows of eight."""
    weights = np.random.default_rng(0).standard_normal((8, 8)).astype(np.float32)
    w = ir.Value(name="w", const_value=ir.tensor(weights, name="w"))
    x = ir.Value(name="x", shape=ir.Shape([batch, 8]), type=ir.TensorType(ir.DataType.FLOAT))
    product = ir.Node("", "MatMul", [x, w], name="product")
    relu = ir.Node("", "Relu", [product.outputs[0]], name="relu")
    last = ir.Node("", "MatMul", [relu.outputs[0], w], name="last")
    y = last.outputs[0]
    y.name, y.shape, y.type = "y", ir.Shape([batch, 8]), ir.TensorType(ir.DataType.FLOAT)
    graph = ir.Graph(
        [x], [y], nodes=[product, relu, last], initializers=[w], opset_imports={"": 21}, name="net"
    )
    return ir.Model(graph, ir_version=10)


def rows(count: int = 1, seed: int = 0) -> dict[str, Any]:
    return {"x": np.random.default_rng(seed).standard_normal((count, 8)).astype(np.float32)}


class Rows:
    """A data source."""

    description, fingerprint, labelled = "rows", "0", False
    class_names: tuple[str, ...] = ()
    findings = ()

    def __len__(self) -> int:
        return 5

    def __iter__(self) -> Iterator[Sample]:
        return iter(Sample(rows(seed=index), None, f"row {index}") for index in range(5))


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> PlainDevice:
    """What `ssh://plain` is."""
    made = PlainDevice()
    monkeypatch.setattr(connections, "device_at", lambda text: made)
    return made


@pytest.fixture(params=RUNTIMES)
def emitted(request: pytest.FixtureRequest, tmp_path: Path) -> Artifact:
    target = edgewise.targets.get(request.param)
    return target.emit(network(1), tmp_path / "out", "fp32", options=EmitOptions("net"))


def on_device(artifact: Artifact) -> DeviceSession:
    return DeviceSession(artifact, DEVICE, RUNTIMES[artifact.target], threads=1)


def test_outputs_are_those_of_this_machine(emitted: Artifact, device: PlainDevice) -> None:
    local = edgewise.targets.get(emitted.target).open(emitted)
    far = on_device(emitted)
    expected = [local.run(rows(seed=seed)) for seed in range(3)]
    found = far.run_many([rows(seed=seed) for seed in range(3)])
    for mine, theirs in zip(expected, found, strict=True):
        assert mine.keys() == theirs.keys()
        assert all(np.array_equal(mine[name], theirs[name]) for name in mine)
        assert all(mine[name].dtype == theirs[name].dtype for name in mine)
    assert np.array_equal(far.run(rows())["y"], expected[0]["y"])
    local.close()
    far.close()
    far.close()
    with pytest.raises(DeviceError, match="the session is closed"):
        far.run(rows())
    assert device.started[0].returncode == 0


def test_errors_are_those_of_this_machine(emitted: Artifact, device: PlainDevice) -> None:
    local, far = edgewise.targets.get(emitted.target).open(emitted), on_device(emitted)
    for session in (local, far):
        with pytest.raises(UsageError, match="given z; expected x"):
            session.run({"z": rows()["x"]})
        with pytest.raises(
            DataError, match=r"input 'x' has the shape \(2, 8\).*built for \(1, 8\)"
        ):
            session.run(rows(2))
        session.close()


def test_invoke_needs_inputs(emitted: Artifact, device: PlainDevice) -> None:
    far = on_device(emitted)
    with pytest.raises(UsageError, match="prepare"):
        far.invoke()
    far.prepare(rows())
    far.invoke()
    assert len(far.time_runs(3)) == 3
    far.close()


def test_a_fixed_batch_is_filled(tmp_path: Path, device: PlainDevice) -> None:
    target = edgewise.targets.get("android")
    options = EmitOptions("net", options={"batch": 4})
    artifact = target.emit(network(), tmp_path, "fp32", options=options)
    far, local = on_device(artifact), target.open(artifact)
    for count in (1, 3, 4):
        found = far.run(rows(count))["y"]
        assert found.shape == (count, 8)
        assert np.array_equal(found, local.run(rows(count))["y"])
    far.close()
    local.close()


@pytest.mark.parametrize("target", RUNTIMES)
def test_a_free_batch_takes_any(target: str, tmp_path: Path, device: PlainDevice) -> None:
    options = EmitOptions("net", options={"batch": "dynamic"} if target == "android" else {})
    artifact = edgewise.targets.get(target).emit(network(), tmp_path, "fp32", options=options)
    far = on_device(artifact)
    for count in (3, 1, 5):
        assert far.run(rows(count))["y"].shape == (count, 8)
    far.close()


def test_sessions_share_a_runner(emitted: Artifact, device: PlainDevice) -> None:
    first, second = on_device(emitted), on_device(emitted)
    first.close()
    assert second.run(rows())["y"].shape == (1, 8)
    second.close()
    assert len(device.started) == 1


def test_a_file_that_is_refused_leaves_no_runner(emitted: Artifact, device: PlainDevice) -> None:
    emitted.path.write_bytes(b"damaged")
    with pytest.raises((ModelError, DeviceError)) as far:
        on_device(emitted)
    with pytest.raises((ModelError, DeviceError)) as here:
        edgewise.targets.get(emitted.target).open(emitted)
    assert type(far.value) is type(here.value) and far.value.what == here.value.what
    assert device.started[0].returncode == 0
    assert DEVICE not in connections._open


def test_who_comes_after_an_interruption_gets_a_new_runner(device: PlainDevice) -> None:
    with connections.connected(DEVICE) as first:
        connections.interrupt_all()
        with pytest.raises(DeviceError):
            first.status()
        with connections.connected(DEVICE) as second:
            assert second is not first and second.status()
    assert len(device.started) == 2 and DEVICE not in connections._open


def test_validation_on_a_device(emitted: Artifact, device: PlainDevice) -> None:
    result = validate(
        emitted,
        reference=network(1),
        hub=network(1),
        fp32_artifact=emitted,
        fallback=Rows(),
        device=DEVICE,
        latency_plan=QUICK,
    )
    assert result.equivalence.samples == 5 and result.equivalence.argmax_agreement == 1.0
    assert result.latency.median_ms is not None and result.latency.speedup is not None
    assert result.latency.load_ms is not None and 0 < result.latency.load_ms < 60_000
    assert result.facts is not None and result.facts.machine is not None
    assert result.facts.runtime is not None and result.facts.cores
    assert result.device == DEVICE and result.latency.device == "plain"
    assert {f.rule.partition("/")[0] for f in result.findings} <= {"device"}
    assert len(device.started) == 1
    assert device.started[0].returncode == 0


def test_a_line_that_broke_is_told_in_the_result(emitted: Artifact, device: PlainDevice) -> None:
    device._faults = [DIE.format(do="run")]
    result = validate(
        emitted, reference=network(1), hub=network(1), fallback=Rows(), device=DEVICE,
        latency_plan=QUICK,
    )  # fmt: skip
    told = [finding for finding in result.findings if finding.rule == "device/retried"]
    assert len(told) == 1 and "'run'" in told[0].message
    assert result.equivalence.samples == 5


def test_nothing_is_opened_to_be_timed_where_times_mean_nothing(
    emitted: Artifact, device: PlainDevice
) -> None:
    device.latency_reason = "emulated"
    device._faults = ["on('open', lambda: os.write(2, b'open\\n'))"]
    with connections.connected(DEVICE) as link:
        result = validate(
            emitted, reference=network(1), hub=network(1), fp32_artifact=emitted, fallback=Rows(),
            device=DEVICE,
        )  # fmt: skip
        assert link._line.last_words().count("open") == 1
    assert result.latency.median_ms is None and result.latency.reason == "emulated"
    assert result.facts is not None and result.facts.load is None
    assert result.findings == emitted.findings


def test_the_options_of_the_manifest_reach_the_runtime(tmp_path: Path, device: PlainDevice) -> None:
    emitted = edgewise.targets.get("arm").emit(network(1), tmp_path, "fp32")
    manifest = load_artifact(emitted.path).manifest
    session = {**manifest.options["session"], "graph_optimization_level": "ORT_NO_SUCH"}
    odd = replace(manifest, options={"session": session})
    with pytest.raises(ModelError, match="ORT_NO_SUCH"):
        on_device(replace(emitted, manifest=odd))
    with pytest.raises(ModelError, match="ORT_NO_SUCH"):
        edgewise.targets.get("arm").open(replace(emitted, manifest=odd))
