"""Packages that coremltools itself makes of torch models agree with torch.

fp16 packages are compared with the share of the output's range that fp16 rounding costs; the same
package with `rounding="none"` differs from torch by the rounding of its constants alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgewise.targets.apple._coremltools import ct, quiet
from edgewise.targets.apple.interpreter import Interpreter

torch = pytest.importorskip("torch")
nn = torch.nn

Array = npt.NDArray[Any]
pytestmark = pytest.mark.slow


class Convolutional(nn.Module):  # type: ignore[misc, name-defined]
    """Residual blocks, depthwise convolutions, hard swish, pooling of three kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.Hardswish())
        self.wide = nn.Sequential(
            nn.Conv2d(16, 16, 5, 1, 2, groups=16),
            nn.BatchNorm2d(16),
            nn.ReLU6(),
            nn.Conv2d(16, 16, 1),
        )
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.tail = nn.Sequential(nn.Conv2d(16, 24, 3, padding="same", dilation=2), nn.SiLU())
        self.head = nn.Linear(48, 10)

    def forward(self, x: Any) -> Any:
        x = self.stem(x)
        x = self.pool(x + self.wide(x))
        x = nn.functional.avg_pool2d(self.tail(x), 2, ceil_mode=True)
        features = torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)
        return torch.softmax(self.head(features), -1)


class Transformer(nn.Module):  # type: ignore[misc, name-defined]
    """Patches, class token, positions, two pre-norm encoder layers."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 32, 8, 8)
        self.token = nn.Parameter(torch.randn(1, 1, 32))
        self.positions = nn.Parameter(torch.randn(1, 17, 32))
        self.layers = nn.ModuleList(
            nn.ModuleDict(
                {
                    "before": nn.LayerNorm(32),
                    "qkv": nn.Linear(32, 96),
                    "out": nn.Linear(32, 32),
                    "between": nn.LayerNorm(32),
                    "up": nn.Linear(32, 64),
                    "down": nn.Linear(64, 32),
                }
            )
            for _ in range(2)
        )
        self.head = nn.Linear(32, 10)

    def forward(self, x: Any) -> Any:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token, x], 1) + self.positions
        for layer in self.layers:
            q, k, v = layer["qkv"](layer["before"](x)).reshape(1, 17, 3, 4, 8).unbind(2)
            heads = nn.functional.scaled_dot_product_attention(
                q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
            )
            x = x + layer["out"](heads.transpose(1, 2).reshape(1, 17, 32))
            x = x + layer["down"](nn.functional.gelu(layer["up"](layer["between"](x))))
        return self.head(x[:, 0])


class Recurrent(nn.Module):  # type: ignore[misc, name-defined]
    """Two LSTM directions, then a GRU, over embedded tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 16)
        self.lstm = nn.LSTM(16, 12, batch_first=True, bidirectional=True)
        self.gru = nn.GRU(24, 8, batch_first=True)

    def forward(self, tokens: Any) -> Any:
        states, _ = self.lstm(self.embedding(tokens))
        states, last = self.gru(states)
        return states, last[0]


class Segmenter(nn.Module):  # type: ignore[misc, name-defined]
    """A U-Net: strided and transposed convolutions, bilinear and nearest upsampling, skips."""

    def __init__(self) -> None:
        super().__init__()
        normalization = nn.InstanceNorm2d(8, affine=True)
        self.one = nn.Sequential(nn.Conv2d(3, 8, 3, 1, 1), normalization, nn.ReLU())
        self.two = nn.Sequential(nn.Conv2d(8, 16, 3, 2, 1), nn.GroupNorm(4, 16), nn.LeakyReLU())
        self.three = nn.Sequential(nn.Conv2d(16, 16, 3, 2, 1), nn.PReLU(16))
        self.up = nn.ConvTranspose2d(16, 16, 2, 2)
        self.last = nn.Conv2d(40, 4, 1)

    def forward(self, x: Any) -> Any:
        one = self.one(x)
        two = self.two(one)
        three = self.up(self.three(two))
        resize = nn.functional.interpolate
        smooth = resize(two, scale_factor=2, mode="bilinear", align_corners=False)
        sharp = resize(three, scale_factor=2, mode="nearest")
        return self.last(torch.cat([one, smooth, sharp], 1)).log_softmax(1)


class Detector(nn.Module):  # type: ignore[misc, name-defined]
    """The five best of 64 anchors: scores, classes and boxes gathered by index."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 16, 3, 4, 1), nn.ReLU(), nn.Conv2d(16, 9, 1))

    def forward(self, x: Any) -> Any:
        maps = self.features(x).flatten(2).transpose(1, 2)
        boxes, classes = maps[..., :4], maps[..., 4:].sigmoid()
        best, labels = classes.max(-1)
        scores, places = best.topk(5, 1)
        chosen = boxes.gather(1, places.unsqueeze(-1).expand(-1, -1, 4))
        corners = torch.cat([chosen[..., :2] - chosen[..., 2:].exp(), chosen[..., :2]], -1)
        return scores, labels.gather(1, places), corners.clamp(-4, 4)


def picture(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


@dataclass(frozen=True)
class Case:
    """A torch model, what it is fed, and how it is converted."""

    make: Callable[[], Any]
    feeds: tuple[Array, ...]
    exported: bool = False  # through torch.export rather than torch.jit.trace
    system: str = "iOS16"
    precision: str = "FLOAT16"
    inputs: Callable[[], list[Any]] | None = None
    others: tuple[tuple[Array, ...], ...] = ()  # more feeds, of other shapes
    tolerance: float = 0.02  # of the output's range


_SMALL = picture(1, 3, 32, 32)
_TOKENS = np.random.default_rng(1).integers(0, 50, (1, 9)).astype(np.int32)

CASES = {
    "cnn-fp16-ios15": Case(Convolutional, (_SMALL,), system="iOS15"),
    "cnn-fp32-export-ios18": Case(
        Convolutional, (_SMALL,), exported=True, system="iOS18", precision="FLOAT32", tolerance=1e-5
    ),
    "vit-fp16-export-ios18": Case(Transformer, (_SMALL,), exported=True, system="iOS18"),
    "vit-fp32-export-ios15": Case(
        Transformer, (_SMALL,), exported=True, system="iOS15", precision="FLOAT32", tolerance=1e-5
    ),
    "recurrent-fp32-ios16": Case(Recurrent, (_TOKENS,), precision="FLOAT32", tolerance=1e-5),
    "recurrent-fp16-ios17": Case(Recurrent, (_TOKENS,), system="iOS17"),
    "unet-fp16-ios16": Case(Segmenter, (_SMALL,)),
    "unet-fp32-enumerated-ios17": Case(
        Segmenter,
        (_SMALL,),
        system="iOS17",
        precision="FLOAT32",
        tolerance=1e-5,
        inputs=lambda: [
            ct.TensorType(shape=ct.EnumeratedShapes([(1, 3, 32, 32), (1, 3, 64, 32)]))
        ],
        others=((picture(1, 3, 64, 32, seed=3),),),
    ),
    "cnn-fp32-ranges-ios17": Case(
        Convolutional,
        (_SMALL,),
        system="iOS17",
        precision="FLOAT32",
        tolerance=1e-5,
        inputs=lambda: [
            ct.TensorType(shape=(1, 3, ct.RangeDim(16, 96, 32), ct.RangeDim(16, 96, 32)))
        ],
        others=((picture(1, 3, 48, 80, seed=4),),),
    ),
    "detector-fp32-ios15": Case(
        Detector, (_SMALL,), system="iOS15", precision="FLOAT32", tolerance=1e-5
    ),
    "detector-fp16-ios18": Case(Detector, (_SMALL,), system="iOS18", tolerance=0.05),
}  # fmt: skip


def _converted(case: Case, module: Any, path: Path) -> None:
    examples = tuple(map(torch.from_numpy, case.feeds))
    inputs = None
    if case.inputs is not None:
        inputs = case.inputs()
    elif not case.exported:  # an exported program has its own
        inputs = [ct.TensorType(shape=array.shape, dtype=array.dtype.type) for array in case.feeds]
    with quiet(), torch.no_grad():
        if case.exported:
            source = torch.export.export(module, examples).run_decompositions({})
        else:
            source = torch.jit.trace(module, examples)
        model = ct.convert(
            source,
            inputs=inputs,
            convert_to="mlprogram",
            minimum_deployment_target=getattr(ct.target, case.system),
            compute_precision=getattr(ct.precision, case.precision),
            skip_model_load=True,
        )
        model.save(str(path))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
def test_torch_package(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    torch.manual_seed(0)
    module = case.make().eval()
    path = tmp_path / "model.mlpackage"
    try:
        _converted(case, module, path)
    except Exception as error:  # coremltools converts no torch model with every numpy and torch
        reason = " ".join(str(error).split())[:200]
        pytest.skip(f"coremltools cannot convert it: {reason}")
    interpreter = Interpreter(path)
    for feeds in (case.feeds, *case.others):
        with torch.no_grad():
            made = module(*map(torch.from_numpy, feeds))
        expected = [tensor.numpy() for tensor in (made if isinstance(made, tuple) else (made,))]
        named = dict(zip(interpreter.input_names, feeds, strict=True))
        found = interpreter.run(named)
        assert len(found) == len(expected)
        for array, wanted in zip(found.values(), expected, strict=True):
            assert array.shape == wanted.shape
            span = max(float(np.ptp(wanted)), 1e-3)
            assert np.abs(array - wanted).max() <= case.tolerance * span
        watched = interpreter.run(named, observe=lambda name, array: None)
        for key, array in watched.items():
            np.testing.assert_array_equal(found[key], array)
