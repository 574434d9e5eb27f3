"""What the way to the hub model costs over `torch.onnx.export` alone, on MobileNetV2-224.

The two run alternately in one process, after one of each that is not counted. Ours exports with the
same exporter, brings the model to canonical form and compares it with its source on two inputs.
Needs the extras `torch` and `transformers`, which has the network; the weights are random. On a
busy machine set OMP_NUM_THREADS=1: torch's threads wait for each other by spinning.

    python benchmarks/export_time.py [--rounds 5]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from transformers import MobileNetV2Config, MobileNetV2ForImageClassification

from edgewise.exporters import export
from edgewise.exporters.quiet import quiet

LIMIT = 2.0
SHAPE = (1, 3, 224, 224)
#: what ours asks torch for; a newer one costs torch half a second to convert to
OPSET = 18


class Classifier(torch.nn.Module):
    """MobileNetV2 with logits of 1,000 classes alone."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        config = MobileNetV2Config(num_labels=1000)
        self.network = MobileNetV2ForImageClassification(config)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.network(image).logits
        return logits


def alone(module: Classifier) -> None:
    """What a user would call."""
    with quiet(), torch.no_grad():
        torch.onnx.export(
            module, (torch.zeros(SHAPE),), dynamo=True, verbose=False, opset_version=OPSET
        )


def ours(module: Classifier) -> None:
    export(module, input_shapes={"image": SHAPE})


def seconds(run: Callable[[Classifier], None], module: Classifier) -> tuple[float, float]:
    """By the clock, and of the processors."""
    clock, work = time.perf_counter(), time.process_time()
    run(module)
    return time.perf_counter() - clock, time.process_time() - work


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    module = Classifier().eval()
    times: dict[str, list[tuple[float, float]]] = {}
    for number in range(rounds + 1):
        for name, run in (("torch.onnx.export", alone), ("edgewise.export", ours)):
            took = seconds(run, module)
            if number:
                times.setdefault(name, []).append(took)
    best = {
        name: [min(column) for column in zip(*rows, strict=True)] for name, rows in times.items()
    }
    for name, (clock, work) in best.items():
        print(f"{name:20s} {clock:6.2f} s by the clock  {work:6.2f} s of the processors")
    base, ours_best = best.values()
    over = [mine - theirs for mine, theirs in zip(ours_best, base, strict=True)]
    print(f"{'over it':20s} {over[0]:6.2f} s               {over[1]:6.2f} s   (limit {LIMIT:.2f})")


if __name__ == "__main__":
    main()
