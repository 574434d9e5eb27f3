"""Pictures with boxes for FastestDet (`fastestdet.onnx`), and the mean precision of what it finds.

The network gives 85 numbers for each of 22 x 22 cells: whether there is an object, its centre and
size, and 80 classes. Decoding after its authors' `handle_preds` (github.com/dog-qiuqiu/FastestDet):
score = object^0.6 * class^0.4; the centre is tanh(x) from the cell's corner, width and height are
sigmoids, all as shares of the picture; boxes of one class that overlap by more than 0.45 yield to
the one with the higher score. Data are 128 pictures (`images/*.jpg`) and YOLO labels
(`boxes/*.txt`: class, centre, size, as shares) in `$DATA/coco`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from data_folder import DATA
from PIL import Image

from edgewise.targets.validation import get_metric
from edgewise.targets.validation.detection import intersection_over_union

_SIZE = 352
_LEAST_SCORE, _MOST_OVERLAP = 0.001, 0.45
_CALIBRATION = 64

Floats = npt.NDArray[np.float64]
Example = tuple[dict[str, npt.NDArray[np.float32]], list[list[float]]]


def calibration() -> Iterator[Example]:
    return _examples(slice(_CALIBRATION))


def evaluation() -> Iterator[Example]:
    return _examples(slice(None))


def map50(outputs: Sequence[Mapping[str, npt.NDArray[Any]]], labels: Sequence[Any]) -> float:
    """Mean average precision at an overlap of 0.5, over the classes that occur."""
    metric = get_metric("map50")
    records = [
        metric.observe({"detections": decode(next(iter(found.values())))}, label)
        for found, label in zip(outputs, labels, strict=True)
    ]
    return metric.compute(records)


#: by hash of an output: a confidence interval asks for the same pictures hundreds of times
_DECODED: dict[bytes, Floats] = {}


def decode(output: npt.NDArray[Any]) -> Floats:
    """Rows x1, y1, x2, y2, score, class of one picture; corners as shares of it."""
    key = hashlib.blake2b(output.tobytes()).digest()
    if key not in _DECODED:
        _DECODED[key] = _decoded(output)
    return _DECODED[key]


def _decoded(output: npt.NDArray[Any]) -> Floats:
    cells = output.reshape(85, 22, 22).astype(np.float64)
    score = cells[0] ** 0.6 * cells[5:].max(0) ** 0.4
    rows, columns = np.mgrid[:22, :22]
    x, y = (np.tanh(cells[1]) + columns) / 22, (np.tanh(cells[2]) + rows) / 22
    width, height = (1 / (1 + np.exp(-cells[index])) for index in (3, 4))
    corners = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    found = np.stack([*corners, score, cells[5:].argmax(0)], axis=-1).reshape(-1, 6)
    found = found[found[:, 4] > _LEAST_SCORE]
    return _without_overlaps(found[np.argsort(-found[:, 4], kind="stable")])


def _without_overlaps(found: Floats) -> Floats:
    overlap = intersection_over_union(found[:, :4], found[:, :4])
    overlap[found[:, None, 5] != found[None, :, 5]] = 0
    kept: list[int] = []
    for index in range(len(found)):
        if not kept or overlap[index, kept].max() <= _MOST_OVERLAP:
            kept.append(index)
    return found[kept] if kept else np.zeros((1, 6))


def _examples(which: slice) -> Iterator[Example]:
    for path in sorted((DATA / "coco" / "images").glob("*.jpg"))[which]:
        with Image.open(path) as picture:
            rgb = np.asarray(picture.convert("RGB").resize((_SIZE, _SIZE)), np.float32)
        image = np.ascontiguousarray(rgb[..., ::-1].transpose(2, 0, 1)) / 255
        yield {"input.1": image}, _boxes(path.stem)


def _boxes(name: str) -> list[list[float]]:
    """Rows x1, y1, x2, y2, class."""
    path = DATA / "coco" / "boxes" / f"{name}.txt"
    rows = []
    for line in path.read_text().splitlines() if path.is_file() else ():
        index, x, y, width, height = map(float, line.split())
        rows.append([x - width / 2, y - height / 2, x + width / 2, y + height / 2, index])
    return rows
