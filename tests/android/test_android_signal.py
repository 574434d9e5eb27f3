"""Sums of products and Fourier transforms in the runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest


def floats(rng: np.random.Generator, *shape: int) -> Any:
    return rng.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("bhqd,bhkd->bhqk", [(1, 2, 3, 4), (1, 2, 5, 4)]),
        ("bqhd,bkhd->bhqk", [(1, 3, 2, 4), (1, 5, 2, 4)]),
        ("bhqk,bkhd->bqhd", [(1, 2, 3, 5), (1, 5, 2, 4)]),
        ("bchw,bkhw->bck", [(1, 3, 4, 5), (1, 2, 4, 5)]),
        ("...ii->...i", [(1, 3, 4, 4)]),
        ("i,j,k->kji", [(2,), (3,), (4,)]),
        ("ij->", [(3, 4)]),
        ("abc,cd,ef->abe", [(1, 3, 4), (4, 5), (6, 7)]),
    ],
)
def test_einsum(
    kit: Any, execute: Any, rng: np.random.Generator, equation: str, shapes: list[Any]
) -> None:
    feeds = {f"x{i}": floats(rng, *shape) for i, shape in enumerate(shapes)}
    node = kit.node("Einsum", list(feeds), ["y"], equation=equation)
    source = kit.model([node], feeds, {"y": np.float32})
    assert execute(source, feeds).error < 2e-5


def test_scores_written_as_einsum_need_no_transpose(kit: Any, rng: np.random.Generator) -> None:
    feeds = {"q": floats(rng, 1, 3, 4), "k": floats(rng, 1, 5, 4)}
    node = kit.node("Einsum", ["q", "k"], ["y"], equation="bqd,bkd->bqk")
    assert kit.kinds(kit.model([node], feeds, {"y": np.float32})) == ["BATCH_MATMUL"]


@pytest.mark.parametrize("onesided", [0, 1])
@pytest.mark.parametrize("length", [8, 9, 12])
def test_dft(kit: Any, execute: Any, rng: np.random.Generator, onesided: int, length: int) -> None:
    feeds = {"x": floats(rng, 1, 9, 4, 1)}
    constants = {"length": np.array(length), "axis": np.array(1)}
    node = kit.node("DFT", ["x", "length", "axis"], ["y"], onesided=onesided)
    source = kit.model([node], feeds, {"y": np.float32}, constants)
    assert execute(source, feeds).error < 5e-5


@pytest.mark.parametrize(("step", "length"), [(4, 16), (5, 16), (16, 16), (20, 8)])
def test_stft_is_one_convolution(
    kit: Any, execute: Any, rng: np.random.Generator, step: int, length: int
) -> None:
    feeds = {"x": floats(rng, 1, 100, 1)}
    constants = {"step": np.array(step), "window": np.hanning(length).astype(np.float32)}
    node = kit.node("STFT", ["x", "step", "window"], ["y"], onesided=1)
    source = kit.model([node], feeds, {"y": np.float32}, constants)
    found = kit.kinds(source)
    assert found.count("CONV_2D") == 1 and "TRANSPOSE" not in found
    assert execute(source, feeds).error < 5e-5
