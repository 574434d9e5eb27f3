"""Train the digits sample and write its model and data beside this file.

    python -m edgewise.sample_models.digits.train [folder]

Needs `torch` and `scikit-learn`; takes about half a minute on two cores. The 1,797 digits (8x8
pixels, 17 grey levels, from the UCI "Optical Recognition of Handwritten Digits" set) are enlarged
to 32x32 by nearest neighbour and split, stratified by class, into 1,197 to train and 600 to test.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

from edgewise import graph
from edgewise.exporters.pipeline import strip_metadata
from edgewise.exporters.quiet import quiet
from edgewise.sample_models.digits.model import IMAGE_SHAPE, INPUT_NAME, OUTPUT_NAME, DigitsNet

SEED = 20
EPOCHS = 40
BATCH = 64
TEST_SAMPLES = 600
CALIBRATION_SAMPLES = 200
PEAK_LEARNING_RATE = 0.01
#: on all weights: keeps their ranges narrow, which 8 bits per weight reward
WEIGHT_DECAY = 0.02
LABEL_SMOOTHING = 0.05
#: largest random shift while training, in pixels of the enlarged picture
MAX_SHIFT = 4

FloatArray = npt.NDArray[np.float32]
LabelArray = npt.NDArray[np.int64]


def load_data() -> tuple[FloatArray, FloatArray, LabelArray, LabelArray]:
    """Training pictures, test pictures, training labels, test labels."""
    digits = load_digits()
    factor = IMAGE_SHAPE[1] // 8
    small = (digits.images / 16.0).astype(np.float32)
    large = small.repeat(factor, axis=1).repeat(factor, axis=2)[:, None]
    labels = digits.target.astype(np.int64)
    parts = train_test_split(
        large, labels, test_size=TEST_SAMPLES, stratify=labels, random_state=SEED
    )
    return parts[0], parts[1], parts[2], parts[3]


def train(images: FloatArray, labels: LabelArray) -> DigitsNet:
    """The trained network, in evaluation mode."""
    torch.manual_seed(SEED)
    net = DigitsNet()
    x, y = torch.from_numpy(images), torch.from_numpy(labels)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, PEAK_LEARNING_RATE, total_steps=EPOCHS * (len(x) // BATCH)
    )
    loss_of = nn.CrossEntropyLoss(label_smoothing=LABEL_SMOOTHING)
    net.train()
    for _ in range(EPOCHS):
        order = torch.randperm(len(x))
        for start in range(0, len(x) // BATCH * BATCH, BATCH):
            batch = order[start : start + BATCH]
            loss = loss_of(net(_shifted(x[batch])), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return net.eval()


def _shifted(images: torch.Tensor) -> torch.Tensor:
    """The batch moved by one random offset, empty pixels filled with background."""
    down, right = (int(d) for d in torch.randint(-MAX_SHIFT, MAX_SHIFT + 1, (2,)))
    padded = nn.functional.pad(images, [MAX_SHIFT] * 4)
    height, width = images.shape[2:]
    top, left = MAX_SHIFT + down, MAX_SHIFT + right
    return padded[:, :, top : top + height, left : left + width]


def accuracy(net: nn.Module, images: FloatArray, labels: LabelArray) -> float:
    """Share of pictures whose largest logit is the label's."""
    with torch.no_grad():
        predicted = net(torch.from_numpy(images)).argmax(dim=1).numpy()
    return float(np.mean(predicted == labels))


def write(folder: Path, net: DigitsNet, data: dict[str, dict[str, npt.NDArray[Any]]]) -> None:
    """`digits.onnx` and one `.npz` per entry of `data`."""
    with quiet():
        program: Any = torch.onnx.export(
            net,
            (torch.zeros(2, *IMAGE_SHAPE),),
            input_names=[INPUT_NAME],
            output_names=[OUTPUT_NAME],
            dynamic_shapes={INPUT_NAME: {0: torch.export.Dim("batch")}},
            dynamo=True,
            verbose=False,
        )
    strip_metadata(program.model)  # it would carry paths of this machine
    graph.save(program.model, folder / "digits.onnx")
    for name, arrays in data.items():
        np.savez_compressed(folder / f"{name}.npz", allow_pickle=False, **arrays)


def main(folder: Path) -> None:
    torch.set_num_threads(2)
    train_images, test_images, train_labels, test_labels = load_data()
    net = train(train_images, train_labels)
    print(f"accuracy on {len(test_labels)} held-out digits: ", end="")
    print(f"{accuracy(net, test_images, test_labels):.4f}")
    data: dict[str, dict[str, npt.NDArray[Any]]] = {
        "calibration": {INPUT_NAME: train_images[:CALIBRATION_SAMPLES]},
        "evaluation": {INPUT_NAME: test_images, "label": test_labels},
    }
    write(folder, net, data)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
