"""Quantization-aware training of the digits sample, with weights of few bits.

    python -m edgewise.sample_models.digits.train_quantized [--target apple] [--bits 3] [--out FILE]

Needs `torch` and `scikit-learn`; takes about a minute on one core. Prints the accuracy on the 600
held-out digits before and after, and writes a QDQ model whose scales `edgewise build` keeps.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from edgewise import qat
from edgewise.graph import OrtSession, load
from edgewise.sample_models.digits.train import (
    BATCH,
    SEED,
    FloatArray,
    LabelArray,
    accuracy,
    load_data,
)

if TYPE_CHECKING:
    from edgewise.qat.network import QuantizedNetwork

EPOCHS = 4
PEAK_LEARNING_RATE = 0.003
CALIBRATION_SAMPLES = 200
MODEL = Path(__file__).parent / "digits.onnx"


@dataclass(frozen=True, slots=True)
class Gain:
    """Accuracy on held-out digits in 0..1 of the float model, of its integers as calibration gives
    them, and of the trained integers."""

    float_model: float
    calibrated: float
    trained: float


def fine_tune(
    network: QuantizedNetwork, images: FloatArray, labels: LabelArray, epochs: int = EPOCHS
) -> None:
    """Train weights, biases and scales, in place."""
    torch.manual_seed(SEED)
    x, y = torch.from_numpy(images), torch.from_numpy(labels)
    optimizer = torch.optim.Adam(network.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, PEAK_LEARNING_RATE, total_steps=epochs * (len(x) // BATCH)
    )
    loss_of = nn.CrossEntropyLoss()
    for _ in range(epochs):
        order = torch.randperm(len(x))
        for start in range(0, len(x) // BATCH * BATCH, BATCH):
            batch = order[start : start + BATCH]
            loss = loss_of(network(x[batch]), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


def gain(target: str, bits: int, out: Path, epochs: int = EPOCHS) -> Gain:
    """Prepare, train and export the sample for a target, with weights of so many bits."""
    images, test_images, labels, test_labels = load_data()
    network = qat.prepare(MODEL, images[:CALIBRATION_SAMPLES], target=target, weight_bits=bits)
    before = accuracy(network, test_images, test_labels)
    fine_tune(network, images, labels, epochs)
    after = accuracy(network, test_images, test_labels)
    qat.export(network, out)
    return Gain(float_accuracy(test_images, test_labels), before, after)


def float_accuracy(images: FloatArray, labels: LabelArray) -> float:
    """Of the float model that training starts from."""
    (scores,) = OrtSession(load(MODEL)).run({"image": images}).values()
    return float((scores.argmax(axis=1) == labels).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--target", default="apple", choices=["android", "apple", "arm"])
    parser.add_argument("--bits", default=3, type=int)
    parser.add_argument("--epochs", default=EPOCHS, type=int)
    parser.add_argument("--threads", default=1, type=int)
    parser.add_argument("--out", default=Path("digits-trained.onnx"), type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    found = gain(asked.target, asked.bits, asked.out, asked.epochs)
    print(f"float {found.float_model:.4f}")
    print(f"{asked.bits}-bit weights, calibrated {found.calibrated:.4f}")
    print(f"{asked.bits}-bit weights, trained {found.trained:.4f}")
    print(f"wrote {asked.out}")


if __name__ == "__main__":
    main()
