"""Files that other tools have made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgewise.inspection import read
from edgewise.targets.apple._coremltools import Builder as mb
from edgewise.targets.apple._coremltools import ct, quiet

DATA = Path(__file__).parents[3] / "shared" / "data"
shared_data = pytest.mark.shared_data


def published(name: str) -> Path:
    if not (DATA / name).exists():
        pytest.skip("the models of ../shared/data are not here")
    return DATA / name


@shared_data
@pytest.mark.parametrize(
    ("name", "precisions", "macs", "parameters"),
    [
        # MLPerf Tiny's models; layers and MACs counted from their definitions
        ("kws/kws_ref_model.tflite", {"w8a8": 10}, 2_656_768, 22_604),
        ("kws/kws_ref_model_float32.tflite", {"w8": 5, "fp32": 5}, 2_656_768, 22_604),
        ("vww/vww_96_int8.tflite", {"w8a8": 28}, 7_489_664, 210_850),
        ("vww/vww_96_float.tflite", {"fp32": 28}, 7_489_664, 210_850),
        ("cifar10/pretrainedResnet_quant.tflite", {"w8a8": 10}, 12_501_632, 77_706),
        ("cifar10/pretrainedResnet.tflite", {"fp32": 10}, 12_501_632, 77_706),
    ],
)
def test_published_tflite(name: str, precisions: Any, macs: int, parameters: int) -> None:
    facts = read(published(name)).facts
    assert {key: share.layers for key, share in facts.precisions.items()} == precisions
    assert facts.macs.total == macs
    assert facts.parameters.count == parameters
    assert facts.producer == "MLIR Converted."
    assert facts.versions["min_runtime_version"] == "1.5.0"


@shared_data
def test_an_old_onnx_file_is_told_as_it_is_written() -> None:
    facts = read(published("coco/fastestdet.onnx")).facts
    assert facts.versions["opset"] == "11"
    assert facts.macs.total == 121_491_744
    assert facts.operators["Conv"] == 70


def package(path: Path, compress: Any = None) -> Path:
    """A convolution, its activation and a linear, by coremltools alone."""
    random = np.random.default_rng(0)
    weight, matrix = random.standard_normal((16, 8, 3, 3)), random.standard_normal((10, 16))

    @mb.program(  # type: ignore[untyped-decorator]
        input_specs=[mb.TensorSpec(shape=(1, 8, 12, 12))], opset_version=ct.target.iOS18
    )
    def program(x: Any) -> Any:
        y = mb.conv(x=x, weight=weight.astype(np.float32), pad_type="same")
        y = mb.reduce_mean(x=mb.relu(x=y), axes=[2, 3])
        return mb.linear(x=y, weight=matrix.astype(np.float32))

    with quiet():
        model = ct.convert(program, minimum_deployment_target=ct.target.iOS18, skip_model_load=True)
        (model if compress is None else compress(model)).save(str(path))
    return path


def linear(dtype: str) -> Any:
    config = ct.optimize.coreml.OpLinearQuantizerConfig(
        mode="linear_symmetric", dtype=dtype, weight_threshold=0
    )
    return _applied(ct.optimize.coreml.linear_quantize_weights, config)


def palette(bits: int) -> Any:
    config = ct.optimize.coreml.OpPalettizerConfig(mode="uniform", nbits=bits, weight_threshold=0)
    return _applied(ct.optimize.coreml.palettize_weights, config)


def pruned() -> Any:
    config = ct.optimize.coreml.OpThresholdPrunerConfig(threshold=0.5, weight_threshold=0)
    return _applied(ct.optimize.coreml.prune_weights, config)


def _applied(function: Any, config: Any) -> Any:
    whole = ct.optimize.coreml.OptimizationConfig(global_config=config)
    return lambda model: function(model, whole)


@pytest.mark.parametrize(
    ("make", "named", "dtype"),
    [
        (lambda: None, "fp16", "float16"),
        (lambda: linear("int8"), "w8", "int8"),
        (lambda: linear("int4"), "w4", "int4"),
        (lambda: palette(4), "palette4", "palette4"),
        (lambda: palette(2), "palette2", "palette2"),
        (pruned, "fp16", "float16"),
    ],
)
def test_packages_of_coremltools(tmp_path: Path, make: Any, named: str, dtype: str) -> None:
    facts = read(package(tmp_path / "model.mlpackage", make())).facts
    assert {name: share.layers for name, share in facts.precisions.items()} == {named: 2}
    assert facts.macs.total == 144 * 16 * 72 + 160
    biases = 10 if dtype == "float16" else 0  # zeros, which coremltools adds to a linear
    assert facts.parameters.by_dtype[dtype].count == 16 * 72 + 160 + biases
    assert facts.needs == {"system": "iOS18 or newer"}
    assert facts.producer.startswith("coremltools")
    if dtype.startswith(("int", "palette")):
        bits = int("".join(letter for letter in dtype if letter.isdigit()))
        tables = facts.parameters.by_dtype[dtype].bytes - (16 * 72 + 160) * bits // 8
        assert 0 <= tables <= 200
