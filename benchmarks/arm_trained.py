"""How near int8 arm artifacts of trained networks are to their QDQ models, on ARM64 and here.

Each network is calibrated and emitted as w8a8; the artifact runs on an emulated core and on this
machine beside the QDQ model in ONNX Runtime, unfused. Emulated cores give the same bits, whichever
they are.

    python benchmarks/arm_trained.py DATA [--cpu CPU] [--only NAME ...]

DATA is that of `apple_trained.py`, with `imagenet/calib` and `imagenet/eval` (pictures) and
`cifar10/eval2000.npz`; what is absent is printed as not measured.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from apple_trained import Arrays, Trained, cropped, digits, efficientnet_lite0, resnet20

import edgewise
from edgewise.graph import OrtSession, load
from edgewise.targets import get
from edgewise.targets.base import LOCAL, Artifact
from edgewise.targets.host_cpu import read_host_cpu
from edgewise.targets.validation.devices import connected

_CALIBRATION = 64


@dataclass(frozen=True)
class Network:
    """`samples` is how many are run on the emulated core."""

    make: Callable[[Path], Trained]
    samples: int


def _digits(data: Path) -> Trained:
    trained = digits(data)
    with np.load(str(files("edgewise.sample_models.digits") / "evaluation.npz")) as stored:
        (key,) = [name for name in stored.files if stored[name].ndim == 4]
        return _evaluated(trained, list(stored[key]))


def _resnet20(data: Path) -> Trained:
    trained = resnet20(data)
    with np.load(data / "cifar10" / "eval2000.npz") as stored:
        pictures = stored["x"].astype(np.float32) / 255
    mean, std = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    return _evaluated(trained, [((p - mean) / std).transpose(2, 0, 1) for p in pictures])


def _efficientnet_lite0(data: Path) -> Trained:
    trained = efficientnet_lite0(data)
    (name,) = trained.samples[0]
    folders = [sorted((data / "imagenet" / part).glob("*.jpg")) for part in ("calib", "eval")]
    pictures = [cropped(path) for path in (*folders[0][:_CALIBRATION], *folders[1])]
    arrays = [((picture - 127) / 128).transpose(2, 0, 1)[None] for picture in pictures]
    return replace(trained, samples=[{name: array} for array in arrays])


def _evaluated(trained: Trained, pictures: list[npt.NDArray[Any]]) -> Trained:
    (name,) = trained.samples[0]
    evaluation: list[Arrays] = [{name: picture[None]} for picture in pictures]
    return replace(trained, samples=trained.samples[:_CALIBRATION] + evaluation)


NETWORKS = {
    "digits": Network(_digits, 500),
    "resnet20 (CIFAR-10)": Network(_resnet20, 500),
    "EfficientNet-Lite0": Network(_efficientnet_lite0, 300),
}


@dataclass(frozen=True)
class Agreement:
    """Of an artifact with the QDQ model: the share of samples with the same largest output, and
    distances of outputs in steps of the output's scale."""

    argmax: float
    equal: float
    largest: float

    def __str__(self) -> str:
        return f"{self.argmax:.1%} | {self.equal:.1%} | {self.largest:.0f}"


def row(name: str, network: Network, data: Path, device: str) -> str:
    trained = network.make(data)
    calibration, feeds = trained.samples[:_CALIBRATION], trained.samples[_CALIBRATION:]
    feeds = feeds[: network.samples]
    with tempfile.TemporaryDirectory() as folder:
        (key,) = calibration[0]
        np.savez(Path(folder) / "c.npz", **{key: np.concatenate([s[key] for s in calibration])})
        statistics = edgewise.calibrate(trained.hub, Path(folder) / "c.npz")
        edgewise.quantize(trained.hub, statistics, target="arm", out=Path(folder) / "q.onnx")
        qdq = load(Path(folder) / "q.onnx")
        artifact = get("arm").emit(qdq, Path(folder) / "arm", "w8a8")
        reference = _outputs(OrtSession(qdq, optimize="none").run, feeds)
        step = _step(artifact, qdq)
        exact = _outputs(OrtSession(trained.hub).run, feeds)
        found = [_agreement(reference, _run(artifact, at, feeds), step) for at in (device, LOCAL)]
        kept = float((reference.argmax(1) == exact.argmax(1)).mean())
    return f"| {name} | {len(feeds)} | {found[0]} | {found[1]} | {kept:.1%} |"


def _run(artifact: Artifact, device: str, feeds: list[Arrays]) -> npt.NDArray[np.float64]:
    session = get("arm").open(artifact, device)
    try:
        return _outputs(session.run, feeds)
    finally:
        session.close()


def _outputs(run: Callable[[Any], Arrays], feeds: list[Arrays]) -> npt.NDArray[np.float64]:
    """The only output of each sample."""
    found = []
    for sample in feeds:
        (array,) = run(sample).values()
        found.append(np.ravel(array).astype(np.float64))
    return np.stack(found)


def _step(artifact: Artifact, qdq: Any) -> float:
    """The scale of the output."""
    producer = qdq.graph.outputs[0].producer()
    return float(edgewise.graph.quantization_of(producer).scale)


def _agreement(
    expected: npt.NDArray[np.float64], found: npt.NDArray[np.float64], step: float
) -> Agreement:
    steps = np.abs(found - expected) / step
    same = float((found.argmax(1) == expected.argmax(1)).mean())
    return Agreement(same, float((steps < 0.5).mean()), float(steps.max()))


def rows(data: Path, device: str, only: list[str]) -> Iterator[str]:
    for name, network in NETWORKS.items():
        if only and name not in only:
            continue
        try:
            yield row(name, network, data, device)
        except (OSError, IndexError, ImportError) as error:
            yield f"| {name} | not measured ({type(error).__name__}) | | | | | | | |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--cpu", default="cortex-a53")
    parser.add_argument("--only", nargs="*", default=[])
    arguments = parser.parse_args()
    host = read_host_cpu()
    here = f"{host.arch}, {'without' if host.saturates else 'with'} VNNI"
    device = f"emulated:{arguments.cpu}"
    cells = ["Network", "Samples", f"{device}: argmax", "equal", "LSB", f"{here}: argmax", "equal"]
    print(f"| {' | '.join([*cells, 'LSB', 'QDQ to float: argmax'])} |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    with connected(device):
        for text in rows(arguments.data, device, arguments.only):
            print(text, flush=True)


if __name__ == "__main__":
    main()
