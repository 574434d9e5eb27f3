"""Instructions of one inference on emulated cores: int8 beside fp32, arm beside android.

MobileNetV2 at 224 is made here, with normal random weights in settled ranges; digits is built from
its sample; other builds are named by their folders. Every pair of files is counted in three
processes: the last column is how far these are apart.

    python benchmarks/arm_instructions.py [DIST ...] [--cpu CPU ...] [--only NAME ...]
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path

import numpy as np
import torch
from torch import nn

import edgewise
import edgewise.targets
from edgewise.data import input_specs
from edgewise.graph import load
from edgewise.stages import HUB, emit_fp32
from edgewise.targets.manifest import load_artifact
from edgewise.targets.validation import Instructions
from edgewise.targets.validation.instructions import count_instructions

CPUS = ("cortex-a53", "cortex-a76", "neoverse-v1")
TARGETS = ("arm", "android")
PROCESSES = 3
#: most that int8 may be of fp32 for the arm artifact of MobileNetV2
LIMITS = {"cortex-a53": 0.72, "cortex-a76": 0.33, "neoverse-v1": 0.30}
REPEATABLE = 0.0005
CLASSES = ("load_store", "simd", "dot", "mmla", "sve", "branch", "integer", "other")
MOBILENET, DIGITS = "mobilenet_v2", "digits"


class _Bottleneck(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, factor: int) -> None:
        super().__init__()
        wide = inputs * factor
        expand = _convolution(inputs, wide, 1) if factor > 1 else []
        depthwise = _convolution(wide, wide, 3, stride=stride, groups=wide)
        self.body = nn.Sequential(*expand, *depthwise, *_convolution(wide, outputs, 1)[:2])
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.body(x)
        return x + y if self.residual else y


class MobileNetV2(nn.Module):
    """MobileNetV2 1.0 (arXiv 1801.04381, table 2)."""

    input_shapes = {"image": (1, 3, 224, 224)}  # noqa: RUF012 (read by edgewise)

    def __init__(self) -> None:
        super().__init__()
        rows = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1),
                (6, 160, 3, 2), (6, 320, 1, 1))  # fmt: skip
        layers, inputs = _convolution(3, 32, 3, stride=2), 32
        for factor, outputs, repeats, stride in rows:
            for index in range(repeats):
                layers.append(_Bottleneck(inputs, outputs, 1 if index else stride, factor))
                inputs = outputs
        layers += [*_convolution(320, 1280, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        self.layers = nn.Sequential(*layers, nn.Linear(1280, 1000))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.layers(image)
        return scores


def _convolution(
    inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    padding = kernel // 2
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
    # trained weights are rarely near the largest; uniform ones, which are the default, often are,
    # and the arm target keeps those from some kernels (`edgewise.targets.arm.matrix_kernels`)
    nn.init.kaiming_normal_(convolution.weight)
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU6()]


def build_mobilenet(folder: Path) -> Path:
    """A build of both targets, calibrated with noise, which the statistics fit."""
    torch.manual_seed(0)
    model = MobileNetV2()
    with torch.no_grad():
        for _ in range(3):
            model.train()(torch.randn(4, 3, 224, 224))
    noise = np.random.default_rng(0).standard_normal((4, 3, 224, 224)).astype(np.float32)
    np.savez(folder / "noise.npz", image=noise)
    return _built(model.eval(), folder / "noise.npz", folder / MOBILENET)


def build_digits(folder: Path) -> Path:
    sample = Path(str(resources.files("edgewise.sample_models.digits")))
    return _built(sample / "digits.onnx", sample / "calibration.npz", folder / DIGITS)


def _built(source: nn.Module | Path, data: Path, out: Path) -> Path:
    edgewise.build(source, calibration=data, targets=TARGETS, metric="none", out=out)
    return out


def counted(dist: Path, name: str, cpu: str) -> list[Instructions]:
    """The artifact of a target in a build's folder, in several processes."""
    artifact = load_artifact(dist / name)
    hub = load(dist / "stages" / HUB)
    generator = np.random.default_rng(0)
    feeds = {
        spec.name: generator.standard_normal([d if isinstance(d, int) else 1 for d in spec.shape])
        .astype(np.float32)
        for spec in input_specs(hub)
    }  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="edgewise-") as scratch:
        fp32 = emit_fp32(artifact, hub, Path(scratch))
        target = edgewise.targets.get(name)
        return [
            count_instructions(target, artifact, fp32, f"emulated:{cpu}", feeds)
            for _ in range(PROCESSES)
        ]


def rows(dist: Path, cpus: Sequence[str]) -> Iterator[str]:
    for cpu in cpus:
        for name in TARGETS:
            results = counted(dist, name, cpu)
            yield _row(dist.name, name, cpu, results)


def _row(network: str, target: str, cpu: str, results: Sequence[Instructions]) -> str:
    first = results[0]
    if first.total is None or first.fp32_total is None or first.ratio is None:
        raise SystemExit(first.reason)
    spread = max(_spread([r.total for r in results]), _spread([r.fp32_total for r in results]))
    classes = " | ".join(_millions(first.by_class[name]) for name in CLASSES)
    limit = LIMITS.get(cpu) if (network, target) == (MOBILENET, "arm") else None
    verdict = (
        "" if limit is None else f" (limit {limit}{'' if first.ratio <= limit else ' MISSED'})"
    )
    unsteady = "" if spread <= REPEATABLE else " MISSED"
    return (
        f"| {network} | {target} | {cpu} | {_millions(first.fp32_total)} | "
        f"{_millions(first.total)} | {first.ratio:.3f}{verdict} | {classes} | "
        f"{spread:.4%}{unsteady} |"
    )


def _spread(totals: Sequence[int | None]) -> float:
    known = [total for total in totals if total is not None]
    return (max(known) - min(known)) / min(known)


def _millions(count: int) -> str:
    return f"{count / 1e6:.2f}" if count >= 10_000 else f"{count / 1e6:.4f}" if count else "0"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dist", nargs="*", type=Path)
    parser.add_argument("--cpu", action="append", default=[])
    parser.add_argument("--only", action="append", choices=(MOBILENET, DIGITS))
    parser.add_argument("--keep", type=Path, help="folder for the builds")
    arguments = parser.parse_args()
    head = ["network", "target", "core", "fp32, M", "int8, M", "int8/fp32", *CLASSES, "spread"]
    print(f"| {' | '.join(head)} |")
    print(f"|{'---|' * len(head)}")
    with tempfile.TemporaryDirectory(prefix="edgewise-") as scratch:
        folder = arguments.keep or Path(scratch)
        made = {MOBILENET: build_mobilenet, DIGITS: build_digits}
        wanted = arguments.only or (() if arguments.dist else tuple(made))
        for dist in (*(made[name](folder) for name in wanted), *arguments.dist):
            for line in rows(dist, arguments.cpu or CPUS):
                print(line, flush=True)


if __name__ == "__main__":
    main()
