"""`resample` against PyTorch's own mathematics, which ONNX Runtime's GridSample has."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from edgewise.targets.apple._coremltools import Builder as mb

#: MIL padding -> that of ONNX, by align_corners
_PADDING = {
    ("constant", True): "zeros",
    ("constant", False): "zeros",
    ("border", True): "border",
    ("border", False): "border",
    ("reflection", True): "reflection",
    ("symmetric", False): "reflection",
}


def _arrays(height: int = 4, width: int = 5) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    image = rng.normal(size=(2, 3, height, width)).astype(np.float32)
    return image, rng.uniform(-2.5, 2.5, (2, 6, 7, 2)).astype(np.float32)


def _grid_sample(x: Any, grid: Any, **attributes: Any) -> Any:
    node = helper.make_node("GridSample", ["x", "g"], ["y"], **attributes)
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape)
        for name, array in (("x", x), ("g", grid))
    ]
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    model = helper.make_model(
        helper.make_graph([node], "sample", values, [out]),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=10,
    )
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x, "g": grid})[0]


@pytest.mark.parametrize(("padding", "aligned"), sorted(_PADDING))
@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_resample(run_mil: Any, padding: str, aligned: bool, mode: str) -> None:
    x, grid = _arrays()
    (result,) = run_mil(
        lambda x, g: mb.resample(
            x=x,
            coordinates=g,
            sampling_mode=mode,
            padding_mode=padding,
            padding_value=np.float32(0),
            coordinates_mode="normalized_minus_one_to_one",
            align_corners=aligned,
        ),
        {"x": x, "g": grid},
    )
    expected = _grid_sample(
        x,
        grid,
        mode={"bilinear": "linear"}.get(mode, mode),
        padding_mode=_PADDING[padding, aligned],
        align_corners=int(aligned),
    )
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("aligned", [False, True])
def test_the_ranges_of_coordinates(apply_kernel: Any, aligned: bool) -> None:
    """Three ways to name the same places."""
    x, grid = _arrays()
    common = {
        "x": x,
        "sampling_mode": "bilinear",
        "padding_mode": "border",
        "padding_value": np.float32(0),
        "align_corners": aligned,
    }
    both = apply_kernel(
        "resample", coordinates=grid, coordinates_mode="normalized_minus_one_to_one", **common
    )
    half = apply_kernel(
        "resample",
        coordinates=(grid + 1) / 2,
        coordinates_mode="normalized_zero_to_one",
        **common,
    )
    sizes = np.array([x.shape[3], x.shape[2]], np.float32)
    pixels = (grid + 1) / 2 * (sizes - 1) if aligned else (grid + 1) / 2 * sizes - 0.5
    plain = apply_kernel(
        "resample", coordinates=pixels.astype(np.float32), coordinates_mode="unnormalized", **common
    )
    np.testing.assert_allclose(half, both, atol=1e-5)
    np.testing.assert_allclose(plain, both, atol=1e-5)


def test_what_is_outside_has_the_padding_value(apply_kernel: Any) -> None:
    result = apply_kernel(
        "resample",
        x=np.full((1, 1, 2, 2), 4, np.float32),
        coordinates=np.array([[[[5, 5], [-0.5, 0], [0, 1]]]], np.float32),
        sampling_mode="bilinear",
        padding_mode="constant",
        padding_value=np.float32(2),
        coordinates_mode="unnormalized",
        align_corners=True,
    )
    assert result.reshape(-1).tolist() == [2, 3, 4]
