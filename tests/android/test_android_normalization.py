"""Normalizations in float, in any memory order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgewise.targets.android import TARGET


def floats(rng: np.random.Generator, *shape: int) -> Any:
    return rng.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("axis", [0, 1, 2, 3, -1, -2])
@pytest.mark.parametrize("outputs", [1, 2, 3])
def test_layer_normalization_gives_mean_and_deviation(
    kit: Any, execute: Any, rng: np.random.Generator, axis: int, outputs: int
) -> None:
    x = floats(rng, 1, 3, 4, 5)
    constants = {"scale": floats(rng, *x.shape[axis:]), "shift": floats(rng, *x.shape[axis:])}
    names = ["y", "mean", "inverse"][:outputs]
    node = kit.node("LayerNormalization", ["x", "scale", "shift"], names, axis=axis, epsilon=0.01)
    source = kit.model([node], {"x": x}, dict.fromkeys(names, np.float32), constants)
    assert execute(source, {"x": x}).error < kit.float_tolerance


@pytest.mark.parametrize("op_type", ["LayerNormalization", "RMSNormalization"])
def test_a_computed_scale(kit: Any, execute: Any, rng: np.random.Generator, op_type: str) -> None:
    feeds = {"x": floats(rng, 1, 3, 5), "s": floats(rng, 5)}
    source = kit.model([kit.node(op_type, ["x", "s"], ["y"])], feeds, {"y": np.float32}, opset=23)
    assert execute(source, feeds, reference=True).error < kit.float_tolerance


@pytest.mark.parametrize("op_type", ["LayerNormalization", "InstanceNormalization"])
def test_a_neutral_scale_and_bias_cost_nothing(
    kit: Any, execute: Any, rng: np.random.Generator, op_type: str
) -> None:
    feeds = {"x": floats(rng, 1, 3, 5)}
    size = 5 if op_type == "LayerNormalization" else 3
    neutral = {"s": np.ones(size, np.float32), "b": np.zeros(size, np.float32)}
    source = kit.model(
        [kit.node(op_type, ["x", "s", "b"], ["y"])], feeds, {"y": np.float32}, neutral
    )
    assert kit.kinds(source) == ["MEAN", "SUB", "MUL", "MEAN", "ADD", "RSQRT", "MUL"]
    assert execute(source, feeds).error < kit.float_tolerance


@pytest.mark.parametrize("shape", [(1, 3, 8), (1, 3, 4, 5), (1, 3, 2, 4, 3)])
@pytest.mark.parametrize("known", [True, False])
def test_instance_normalization(
    kit: Any, execute: Any, rng: np.random.Generator, shape: tuple[int, ...], known: bool
) -> None:
    parameters = {"s": floats(rng, 3), "b": floats(rng, 3)}
    feeds = {"x": floats(rng, *shape)} | ({} if known else parameters)
    node = kit.node("InstanceNormalization", ["x", "s", "b"], ["y"])
    source = kit.model([node], feeds, {"y": np.float32}, parameters if known else {})
    assert execute(source, feeds).error < kit.float_tolerance


def image_network(kit: Any, rng: np.random.Generator, *nodes: Any, **constants: Any) -> Any:
    """A convolution to 6 channels, the nodes from a to b, and another convolution."""
    x = floats(rng, 1, 3, 6, 6)
    constants = {"w": floats(rng, 6, 3, 1, 1), "v": floats(rng, 2, 6, 1, 1), **constants}
    ends = [kit.node("Conv", ["x", "w"], ["a"]), *nodes, kit.node("Conv", ["b", "v"], ["y"])]
    return kit.model(ends, {"x": x}, {"y": np.float32}, constants, opset=22), {"x": x}


NORMALIZATIONS: dict[str, dict[str, Any]] = {
    "GroupNormalization": {"num_groups": 2},
    "InstanceNormalization": {},
    "MeanVarianceNormalization": {},
    "LpNormalization": {"axis": 1},
}


@pytest.mark.parametrize("op_type", NORMALIZATIONS)
def test_images_stay_in_their_order(
    kit: Any, execute: Any, rng: np.random.Generator, op_type: str
) -> None:
    names = (
        ["a", "s", "b0"] if op_type in ("GroupNormalization", "InstanceNormalization") else ["a"]
    )
    node = kit.node(op_type, names, ["b"], **NORMALIZATIONS[op_type])
    source, feeds = image_network(kit, rng, node, s=floats(rng, 6), b0=floats(rng, 6))
    assert "TRANSPOSE" not in kit.kinds(source)
    assert execute(source, feeds, reference=True).error < 5e-5


def lrn(x: Any, size: int, alpha: float, beta: float = 0.75, bias: float = 1.0) -> Any:
    """As the ONNX specification has it; the reference implementation visits as many channels as
    there are samples, and ONNX Runtime takes odd windows over images only."""
    before, after = (size - 1) // 2, size // 2
    square = np.stack(
        [(x[:, max(c - before, 0) : c + after + 1] ** 2).sum(axis=1) for c in range(x.shape[1])],
        axis=1,
    )
    return x / (bias + alpha / size * square) ** beta


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
def test_lrn_takes_even_windows_too(
    kit: Any, tmp_path: Path, rng: np.random.Generator, size: int
) -> None:
    node = kit.node("LRN", ["a"], ["b"], size=size, alpha=0.2, beta=0.75, bias=1.5)
    w, v = floats(rng, 6, 3), floats(rng, 2, 6)
    constants = {"w": w[..., None, None], "v": v[..., None, None]}
    source, feeds = image_network(kit, rng, node, **constants)
    kinds = kit.kinds(source)
    assert "TRANSPOSE" not in kinds
    assert ("LOCAL_RESPONSE_NORMALIZATION" in kinds) == (size % 2 == 1)
    normal = lrn(np.einsum("oc,nchw->nohw", w, feeds["x"]), size, 0.2, bias=1.5)
    wanted = np.einsum("oc,nchw->nohw", v, normal)
    np.testing.assert_allclose(outputs(source, feeds, tmp_path)["y"], wanted, atol=5e-5)


def test_lrn_of_a_signal(kit: Any, tmp_path: Path, rng: np.random.Generator) -> None:
    feeds = {"x": floats(rng, 1, 5, 7)}
    source = kit.model([kit.node("LRN", ["x"], ["y"], size=3, alpha=0.2)], feeds, {"y": np.float32})
    assert "LOCAL_RESPONSE_NORMALIZATION" not in kit.kinds(source)
    found = outputs(source, feeds, tmp_path)["y"]
    np.testing.assert_allclose(found, lrn(feeds["x"], 3, 0.2), atol=1e-5)


def outputs(source: Any, feeds: dict[str, Any], folder: Path) -> dict[str, Any]:
    session = TARGET.open(TARGET.emit(source, folder, "fp32"))
    try:
        return session.run(feeds)
    finally:
        session.close()
