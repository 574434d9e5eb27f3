"""How near int8 Core ML packages of trained networks are to their QDQ models.

Each network is calibrated and emitted as w8a8, computing in fp32 and in fp16; the packages are read
back from disk and run in Edgewise's interpreter beside the QDQ model in ONNX Runtime, unfused.

    python benchmarks/apple_trained.py DATA

DATA holds `imagenet/` (pictures and labels.csv), `cifar10/` (calib500.npz, eval2000.npz and
resnet20.th, PyTorch weights of akamaster/pytorch_resnet_cifar10) and `coco/` (images and
fastestdet.onnx of dog-qiuqiu/FastestDet); what is absent is printed as not measured. `digits` comes
with Edgewise.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from PIL import Image

import edgewise
from edgewise.exporters import export
from edgewise.graph import OrtSession
from edgewise.targets import EmitOptions, get
from edgewise.targets.apple import TARGET

Arrays = dict[str, npt.NDArray[Any]]
_CALIBRATION, _EVALUATION = 64, 24


@dataclass(frozen=True)
class Trained:
    """A hub model, and its samples: the first are for calibration."""

    hub: ir.Model
    samples: list[Arrays]


def digits(data: Path) -> Trained:
    folder = files("edgewise.sample_models.digits")
    with np.load(str(folder / "calibration.npz")) as stored:
        (key,) = [name for name in stored.files if stored[name].ndim == 4]
        pictures = stored[key]
    hub = export(str(folder / "digits.onnx")).model
    return Trained(hub, [{_input(hub): picture[None]} for picture in pictures])


def efficientnet_lite0(data: Path) -> Trained:
    from edgewise.sample_models.efficientnet_lite0 import model

    pictures = [cropped(path) for path in sorted((data / "imagenet").glob("*/*.jpg"))[::5]]
    arrays = [((picture - 127) / 128).transpose(2, 0, 1)[None] for picture in pictures]
    hub = edgewise.export(model(), input_shapes=model.input_shapes).model
    return Trained(hub, [{_input(hub): array} for array in arrays])


def cropped(path: Path) -> npt.NDArray[np.float32]:
    with Image.open(path) as picture:
        rgb = picture.convert("RGB")
        left, top = (rgb.width - 224) // 2, (rgb.height - 224) // 2
        return np.asarray(rgb.crop((left, top, left + 224, top + 224)), np.float32)


def resnet20(data: Path) -> Trained:
    import torch

    with np.load(data / "cifar10" / "calib500.npz") as stored:
        pictures = stored["x"].astype(np.float32) / 255
    stored = torch.load(data / "cifar10" / "resnet20.th", weights_only=True, map_location="cpu")
    module = _resnet20()
    weights = {k.removeprefix("module."): v for k, v in stored["state_dict"].items()}
    module.load_state_dict(weights)
    mean, std = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    arrays = [((p - mean) / std).transpose(2, 0, 1)[None] for p in pictures]
    hub = edgewise.export(module.eval(), input_shapes={"x": (1, 3, 32, 32)}).model
    return Trained(hub, [{_input(hub): array} for array in arrays])


def _resnet20() -> Any:
    """He et al. 2015 (arXiv 1512.03385), section 4.2, shortcuts of option A."""
    import torch
    from torch import nn
    from torch.nn import functional

    class Block(nn.Module):
        def __init__(self, before: int, after: int, stride: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(after)
            self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(after)
            self.stride, self.more = stride, (after - before) // 2

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
            kept = x[:, :, :: self.stride, :: self.stride]
            return torch.relu(y + functional.pad(kept, (0, 0, 0, 0, self.more, self.more)))

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
            sizes = ((16, 16, 1), (16, 32, 2), (32, 64, 2))
            for index, (before, after, stride) in enumerate(sizes, 1):
                rest = [Block(after, after, 1), Block(after, after, 1)]
                setattr(self, f"layer{index}", nn.Sequential(Block(before, after, stride), *rest))
            self.linear = nn.Linear(64, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = torch.relu(self.bn1(self.conv1(x)))
            x = self.layer3(self.layer2(self.layer1(x)))
            return self.linear(x.mean((2, 3)))

    return Net()


def fastestdet(data: Path) -> Trained:
    hub = export(data / "coco" / "fastestdet.onnx").model
    samples = []
    for path in sorted((data / "coco" / "images").glob("*.jpg"))[: _CALIBRATION + _EVALUATION]:
        with Image.open(path) as picture:
            rgb = np.asarray(picture.convert("RGB").resize((352, 352)), np.float32)
        samples.append({_input(hub): rgb[..., ::-1].transpose(2, 0, 1)[None].copy() / 255})
    return Trained(hub, samples)


NETWORKS: dict[str, Callable[[Path], Trained]] = {
    "digits": digits,
    "resnet20 (CIFAR-10)": resnet20,
    "EfficientNet-Lite0": efficientnet_lite0,
    "FastestDet": fastestdet,
}


def _input(hub: ir.Model) -> str:
    (value,) = [v for v in hub.graph.inputs if v.name not in hub.graph.initializers]
    return str(value.name)


def row(name: str, trained: Trained) -> str:
    calibration = trained.samples[:_CALIBRATION]
    with tempfile.TemporaryDirectory() as folder:
        key = _input(trained.hub)
        np.savez(Path(folder) / "c.npz", **{key: np.concatenate([s[key] for s in calibration])})
        statistics = edgewise.calibrate(trained.hub, Path(folder) / "c.npz")
        edgewise.quantize(trained.hub, statistics, target="apple", out=Path(folder) / "q.onnx")
        qdq = edgewise.graph.load(Path(folder) / "q.onnx")
        form, found = "", {}
        feeds = trained.samples[_CALIBRATION : _CALIBRATION + _EVALUATION]
        reference = _outputs(OrtSession(qdq, optimize="none").run, feeds)
        exact = _outputs(OrtSession(trained.hub).run, feeds)
        for compute in ("fp32", "fp16"):
            options = EmitOptions(options={"compute": compute})
            artifact = get("apple").emit(qdq, Path(folder) / compute, "w8a8", options=options)
            told = artifact.manifest.options["quantized_form"]
            form = f"{told['in_form']} of {told['layers']}"
            found[compute] = _outputs(TARGET.open(artifact).run, feeds)
    cells = [
        name,
        form,
        _decibels(reference, found["fp32"]),
        _decibels(reference, found["fp16"]),
        _decibels(exact, reference),
        _decibels(exact, found["fp16"]),
    ]
    return f"| {' | '.join(cells)} |"


def _outputs(run: Callable[[Any], Arrays], feeds: list[Arrays]) -> npt.NDArray[np.float64]:
    """All outputs of all samples, one behind the other."""
    return np.concatenate([np.ravel(a) for sample in feeds for a in run(sample).values()]).astype(
        np.float64
    )


def _decibels(expected: npt.NDArray[np.float64], found: npt.NDArray[np.float64]) -> str:
    noise = float(((found - expected) ** 2).sum())
    if noise == 0:
        return "equal"
    return f"{10 * np.log10(float((expected**2).sum()) / noise):.1f} dB"


def rows(data: Path) -> Iterator[str]:
    for name, make in NETWORKS.items():
        try:
            trained = make(data)
        except (OSError, IndexError, ImportError) as error:
            yield f"| {name} | not measured ({type(error).__name__}) | | | | |"
            continue
        yield row(name, trained)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    arguments = parser.parse_args()
    print("| Network | Layers in form | fp32 to QDQ | fp16 to QDQ | QDQ to float | fp16 to float |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for text in rows(arguments.data):
        print(text, flush=True)


if __name__ == "__main__":
    main()
