"""Resize against ONNX Runtime: modes, coordinates, rounding, axes, antialias, float and int8."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgewise.errors import UnsupportedOperator

COORDINATES = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")
ROUNDINGS = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
SCALES = [(2.0, 2.0), (1.5, 0.75), (3.0, 1.0), (0.5, 0.25)]
SIZES = [(5, 17), (1, 1), (12, 3), (6, 8), (7, 1)]


def _resize(
    execute: Any,
    kit: Any,
    x: Any,
    *,
    scales: Any = None,
    sizes: Any = None,
    region: Any = None,
    reference: bool = False,
    **attributes: Any,
) -> Any:
    constants = {}
    if region is not None:
        constants["r"] = np.array(region, np.float32)
    if scales is not None:
        constants["s"] = np.array(scales, np.float32)
    if sizes is not None:
        constants["z"] = np.array(sizes, np.int64)
    names = [name if name in constants else "" for name in ("r", "s", "z")]
    layer = kit.node("Resize", ["x", *names], ["y"], **attributes)
    source = kit.model([layer], {"x": x}, {"y": x.dtype}, constants)
    return execute(source, {"x": x}, reference=reference)


@pytest.mark.parametrize("scales", SCALES)
@pytest.mark.parametrize("coordinates", COORDINATES)
@pytest.mark.parametrize(
    ("mode", "rounding"), [("linear", "floor"), *(("nearest", way) for way in ROUNDINGS)]
)
def test_scales(
    execute: Any, kit: Any, rng: Any, mode: str, coordinates: str, scales: Any, rounding: str
) -> None:
    x = rng.standard_normal((1, 3, 6, 8), np.float32)
    run = _resize(
        execute, kit, x, scales=[1, 1, *scales], mode=mode, nearest_mode=rounding,
        coordinate_transformation_mode=coordinates,
    )  # fmt: skip
    assert run.error <= kit.float_tolerance


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("coordinates", [*COORDINATES, "half_pixel_symmetric"])
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_sizes(execute: Any, kit: Any, rng: Any, mode: str, coordinates: str, sizes: Any) -> None:
    x = rng.standard_normal((2, 3, 6, 8), np.float32)
    run = _resize(
        execute, kit, x, sizes=[2, 3, *sizes], mode=mode,
        coordinate_transformation_mode=coordinates,
    )  # fmt: skip
    assert run.error <= kit.float_tolerance


@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("scales", [(0.6, 0.6), (1.7, 0.3), (0.5, 2.0)])
@pytest.mark.parametrize("antialias", [0, 1])
def test_scales_that_give_no_whole_size(
    execute: Any, kit: Any, rng: Any, mode: str, scales: Any, antialias: int
) -> None:
    x = rng.standard_normal((1, 2, 9, 12), np.float32)
    run = _resize(execute, kit, x, scales=[1, 1, *scales], mode=mode, antialias=antialias)
    assert run.error <= kit.float_tolerance


@pytest.mark.parametrize("exclude_outside", [0, 1])
@pytest.mark.parametrize("coefficient", [-0.5, -0.75])
def test_cubic(execute: Any, kit: Any, rng: Any, coefficient: float, exclude_outside: int) -> None:
    x = rng.standard_normal((1, 2, 5, 7), np.float32)
    run = _resize(
        execute, kit, x, sizes=[1, 2, 9, 4], mode="cubic", cubic_coeff_a=coefficient,
        exclude_outside=exclude_outside,
    )  # fmt: skip
    assert run.error <= kit.float_tolerance


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("value", [0.0, 9.0])
@pytest.mark.parametrize("sizes", [(5, 6), (3, 1)])
def test_crop_and_resize(
    execute: Any, kit: Any, rng: Any, mode: str, value: float, sizes: Any
) -> None:
    x = rng.standard_normal((1, 2, 9, 7), np.float32)
    run = _resize(
        execute, kit, x, sizes=[1, 2, *sizes], mode=mode, extrapolation_value=value,
        coordinate_transformation_mode="tf_crop_and_resize",
        region=[0, 0, 0.1, -0.2, 1, 1, 0.7, 1.3],
    )  # fmt: skip
    assert run.error <= kit.float_tolerance


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize(
    ("shape", "axes", "sizes"),
    [
        ((1, 2, 5, 6, 7), [2, 3, 4], [7, 3, 9]),
        ((1, 2, 5, 6, 7), [4, 2], [9, 7]),
        ((3, 4, 5, 6), [1, 3], [8, 3]),
        ((3, 4, 5, 6), [0], [5]),
        ((4, 5), [0, 1], [8, 3]),
        ((1, 4, 5), [2], [8]),
        ((6,), [0], [4]),
    ],
)
def test_any_axes(
    execute: Any, kit: Any, rng: Any, mode: str, shape: Any, axes: Any, sizes: Any
) -> None:
    x = rng.standard_normal(shape, np.float32)
    run = _resize(execute, kit, x, sizes=sizes, axes=axes, mode=mode, reference=True)
    assert run.error <= kit.float_tolerance


def test_negative_axes(execute: Any, kit: Any, rng: Any) -> None:
    x = rng.standard_normal((1, 2, 6, 8), np.float32)
    run = _resize(execute, kit, x, sizes=[5, 9], axes=[-1, -2], mode="linear")
    assert run.error <= kit.float_tolerance


@pytest.mark.parametrize("policy", ["stretch", "not_larger", "not_smaller"])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_keep_aspect_ratio(execute: Any, kit: Any, rng: Any, mode: str, policy: str) -> None:
    x = rng.standard_normal((1, 2, 6, 8), np.float32)
    run = _resize(
        execute, kit, x, sizes=[9, 5], axes=[2, 3], mode=mode, keep_aspect_ratio_policy=policy
    )
    assert run.error <= kit.float_tolerance


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int32])
@pytest.mark.parametrize("scale", [2.0, 0.5])
def test_nearest_of_plain_integers(
    execute: Any, kit: Any, rng: Any, dtype: type, scale: float
) -> None:
    x = rng.integers(0, 100, (1, 3, 6, 8)).astype(dtype)
    assert _resize(execute, kit, x, scales=[1, 1, scale, scale]).error == 0


@pytest.mark.parametrize("coordinates", ["align_corners", "tf_crop_and_resize"])
def test_ambiguous_lengths_are_refused(execute: Any, kit: Any, rng: Any, coordinates: str) -> None:
    x = rng.standard_normal((1, 1, 9, 9), np.float32)
    with pytest.raises(UnsupportedOperator, match="Give sizes instead of scales"):
        _resize(
            execute, kit, x, scales=[1, 1, 0.6, 0.6], mode="linear",
            coordinate_transformation_mode=coordinates, region=[0, 0, 0, 0, 1, 1, 1, 1],
        )  # fmt: skip


def test_a_region_along_an_axis_whose_size_stays_is_refused(
    execute: Any, kit: Any, rng: Any
) -> None:
    x = rng.standard_normal((1, 1, 9, 9), np.float32)
    with pytest.raises(UnsupportedOperator, match="whose size stays"):
        _resize(
            execute, kit, x, sizes=[1, 1, 5, 9], mode="linear",
            coordinate_transformation_mode="tf_crop_and_resize",
            region=[0, 0, 0.1, 0.1, 1, 1, 0.7, 0.7],
        )  # fmt: skip


def test_interpolated_integers_are_refused(execute: Any, kit: Any, rng: Any) -> None:
    x = rng.integers(0, 100, (1, 3, 6, 8)).astype(np.uint8)
    with pytest.raises(UnsupportedOperator, match="rounded differently"):
        _resize(execute, kit, x, scales=[1, 1, 2, 2], mode="linear")


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("shape", [(1, 3, 6), (1, 3, 6, 8), (1, 3, 4, 5, 6)])
def test_int8_runs_on_integers(
    execute: Any, kit: Any, rng: Any, mode: str, shape: tuple[int, ...]
) -> None:
    x = rng.uniform(-1, 1, shape).astype(np.float32)
    layer = kit.node("Resize", ["x", "", "s"], ["y"], mode=mode)
    constants = {"s": np.array([1, 1, *[2] * (len(shape) - 2)], np.float32)}
    parameters = {"x": (0.01, 4)}
    source = kit.int8_model(
        layer, {"x": x}, (0.01, 4), input_parameters=parameters, constants=constants
    )
    run = execute(source, {"x": x}, "w8a8")
    assert run.lsb <= kit.int8_tolerance
    assert "android/float-island" not in run.rules()


def test_cubic_int8_is_a_float_island(execute: Any, kit: Any, rng: Any) -> None:
    x = rng.uniform(-1, 1, (1, 3, 6, 8)).astype(np.float32)
    layer = kit.node("Resize", ["x", "", "s"], ["y"], mode="cubic")
    constants = {"s": np.array([1, 1, 2, 2], np.float32)}
    source = kit.int8_model(layer, {"x": x}, (0.01, 4), constants=constants)
    run = execute(source, {"x": x}, "w8a8")
    assert run.lsb <= kit.int8_tolerance
    assert "android/float-island" in run.rules()


def test_kernels_are_used_where_they_are_exact(kit: Any) -> None:
    x = {"x": np.zeros((1, 3, 6, 8), np.float32)}
    constants = {"s": np.array([1, 1, 2, 2], np.float32)}
    for mode, kind in (("nearest", "RESIZE_NEAREST_NEIGHBOR"), ("linear", "RESIZE_BILINEAR")):
        layer = kit.node("Resize", ["x", "", "s"], ["y"], mode=mode)
        assert kit.kinds(kit.model([layer], x, {"y": np.float32}, constants)) == [kind]
