"""Size, latency and error of every precision of the android target, side by side.

Two networks: eight products of 1024 x 1024 with random weights, whose 4 bits hurt more than of
trained ones, and a batch of 16; and the digits sample, where accuracy is the measure. Sessions take
turns in short blocks, so that a busy machine slows all alike; a ratio compares blocks of one round
with those of fp32 in the same round. One thread.

    python benchmarks/android_formats.py [--rounds 20]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
from onnx import helper, numpy_helper

from edgewise.calibration import Statistics, collect_statistics
from edgewise.calibration.quantize_for import quantize_for
from edgewise.data import input_specs, open_source
from edgewise.errors import ModelError
from edgewise.graph import prepare
from edgewise.targets.android import TARGET
from edgewise.targets.base import Artifact, EmitOptions, Session

Array = npt.NDArray[Any]

#: precision and options, fp32 first
FORMATS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("fp32", {}),
    ("fp16", {}),
    ("w8a8", {}),
    ("w8a16", {}),
    ("w8", {}),
    ("w4", {"block_size": 0}),
    ("w4", {"block_size": 32}),
)
DIGITS = Path(__file__).parents[1] / "sample_models" / "digits"
BLOCK_SECONDS = 0.05


@dataclass(frozen=True)
class Network:
    """A model with data to calibrate with and to judge by; labels where it has classes."""

    name: str
    hub: ir.Model
    calibration: Path
    inputs: Array
    labels: Array | None
    batch: int = 1


@dataclass(frozen=True)
class Line:
    """One row of the table."""

    title: str
    size: int
    milliseconds: float
    ratio: float
    judgement: str


def products(folder: Path) -> Network:
    """Eight products with Relu between, weights scaled to keep the size of the signal."""
    rng = np.random.default_rng(0)
    nodes, constants = [], []
    for layer in range(8):
        weights = rng.normal(0, (2 / 1024) ** 0.5, (1024, 1024)).astype(np.float32)
        constants.append(numpy_helper.from_array(weights, f"w{layer}"))
        nodes.append(helper.make_node("MatMul", [f"x{layer}", f"w{layer}"], [f"a{layer}"]))
        if layer < 7:
            nodes.append(helper.make_node("Relu", [f"a{layer}"], [f"x{layer + 1}"]))
    graph = helper.make_graph(
        nodes,
        "products",
        [helper.make_tensor_value_info("x0", onnx.TensorProto.FLOAT, ("batch", 1024))],
        [helper.make_tensor_value_info("a7", onnx.TensorProto.FLOAT, ("batch", 1024))],
        constants,
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    inputs = rng.normal(size=(8, 16, 1024)).astype(np.float32)
    np.savez(folder / "products.npz", x0=inputs.reshape(-1, 1024))
    return Network(
        "8 products of 1024 x 1024, batch 16",
        prepare(ir.from_proto(proto)),
        folder / "products.npz",
        inputs,
        None,
        batch=16,
    )


def digits() -> Network:
    data = np.load(DIGITS / "evaluation.npz")
    return Network(
        "digits",
        prepare(str(DIGITS / "digits.onnx"), batch=1),
        DIGITS / "calibration.npz",
        data["image"][:, None],
        data["label"],
    )


def emit(network: Network, statistics: Statistics, folder: Path) -> dict[str, Artifact]:
    """By title; a precision that finds nothing to quantize is left out."""
    artifacts = {}
    for precision, options in FORMATS:
        size = options.get("block_size")
        title = (
            precision if size is None else f"{precision} {f'block {size}' if size else 'channel'}"
        )
        scheme = TARGET.scheme(precision, options)
        try:
            model = network.hub
            if scheme.is_quantized:
                model = quantize_for(model, statistics, scheme).model
        except ModelError as reason:
            print(f"{title}: {reason}")
            continue
        chosen = EmitOptions(options={**options, "batch": network.batch})
        artifacts[title] = TARGET.emit(
            model, folder / title.replace(" ", "-"), precision, options=chosen
        )
    return artifacts


def latencies(sessions: Mapping[str, Session], feeds: dict[str, Array], rounds: int) -> Array:
    """Median milliseconds of each block: (rounds, sessions)."""
    for session in sessions.values():
        session.prepare(feeds)
        session.invoke()
    table = [[_block(session) for session in sessions.values()] for _ in range(rounds)]
    return np.array(table)


def _block(session: Session) -> float:
    times: list[float] = []
    for _ in range(2):
        session.invoke()
    while len(times) < 5 or sum(times) < BLOCK_SECONDS:
        began = time.perf_counter()
        session.invoke()
        times.append(time.perf_counter() - began)
    return float(np.median(times)) * 1000


def judge(network: Network, session: Session, exact: Session) -> str:
    """Accuracy where there are labels, else the largest error over the largest fp32 output."""
    name = str(network.hub.graph.inputs[0].name)
    found, wanted = (
        np.concatenate([next(iter(s.run({name: x}).values())) for x in network.inputs])
        for s in (session, exact)
    )
    if network.labels is not None:
        return f"top1 {(found.argmax(1) == network.labels).mean():.4f}"
    return f"error {np.abs(found - wanted).max() / np.abs(wanted).max():.1e}"


def measure(network: Network, folder: Path, rounds: int) -> list[Line]:
    source = open_source(network.calibration, inputs=input_specs(network.hub))
    artifacts = emit(network, collect_statistics(network.hub, source), folder)
    sessions = {title: TARGET.open(artifact, threads=1) for title, artifact in artifacts.items()}
    feeds = {str(network.hub.graph.inputs[0].name): network.inputs[0]}
    table = latencies(sessions, feeds, rounds)
    return [
        Line(
            title,
            artifact.size_bytes,
            float(np.median(table[:, column])),
            float(np.median(table[:, column] / table[:, 0])),
            judge(network, sessions[title], sessions["fp32"]),
        )
        for column, (title, artifact) in enumerate(artifacts.items())
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for network in (products(folder), digits()):
            lines = measure(network, folder, rounds)
            whole = lines[0].size
            print(f"\n{network.name}\n{'':12s} {'bytes':>10s} {'size':>6s} {'ms':>8s} {'time':>7s}")
            for line in lines:
                print(
                    f"{line.title:12s} {line.size:10d} {line.size / whole:5.2f}x "
                    f"{line.milliseconds:8.3f} {line.ratio:6.2f}x  {line.judgement}"
                )


if __name__ == "__main__":
    main()
