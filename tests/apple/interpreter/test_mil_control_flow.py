"""`cond` and `while_loop`: programs in programs, saved, loaded back and run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgewise.targets.apple._coremltools import Builder as mb
from edgewise.targets.apple._coremltools import ct, quiet
from edgewise.targets.apple.interpreter import Interpreter


def _array(seed: int, *shape: int) -> Any:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("sign", [1, -1])
def test_cond_runs_one_branch(run_mil: Any, sign: int) -> None:
    x, weight = sign * np.abs(_array(0, 2, 3)), _array(1, 4, 3)

    def build(x: Any) -> Any:
        total = mb.reduce_sum(x=x, axes=[0, 1], keep_dims=False)
        doubled = mb.mul(x=x, y=np.float32(2))  # read by one branch alone
        return mb.cond(
            pred=mb.greater(x=total, y=np.float32(0)),
            _true_fn=lambda: (mb.linear(x=doubled, weight=weight), mb.identity(x=x)),
            _false_fn=lambda: (mb.linear(x=x, weight=-weight), mb.mul(x=x, y=np.float32(3))),
        )

    first, second = run_mil(build, {"x": x})
    np.testing.assert_allclose(first, sign * (2 if sign > 0 else 1) * x @ weight.T, rtol=1e-5)
    np.testing.assert_array_equal(second, x if sign > 0 else 3 * x)


def test_while_loop_carries_values(run_mil: Any) -> None:
    """Powers of a matrix until a limit that the data give; the matrix stands around the loop."""
    x = np.array([[1, 1], [1, 0]], np.float32)

    def build(x: Any) -> Any:
        limit = mb.add(x=mb.reduce_max(x=x, axes=[0, 1], keep_dims=False), y=np.float32(49))
        powers, count = mb.while_loop(
            _cond=lambda p, n: mb.less(x=mb.reduce_max(x=p, axes=[0, 1], keep_dims=False), y=limit),
            _body=lambda p, n: (mb.matmul(x=p, y=x), mb.add(x=n, y=np.int32(1))),
            loop_vars=(mb.identity(x=x), np.int32(0)),
        )
        return powers, mb.expand_dims(x=count, axes=[0])

    powers, count = run_mil(build, {"x": x})
    assert powers.tolist() == [[55, 34], [34, 21]]  # Fibonacci numbers
    assert count.tolist() == [8]


def test_a_loop_that_never_runs_hands_its_values_on(run_mil: Any) -> None:
    x = _array(2, 3)

    def build(x: Any) -> Any:
        return mb.while_loop(
            _cond=lambda n, v: mb.less(x=n, y=np.int32(0)),
            _body=lambda n, v: (mb.add(x=n, y=np.int32(1)), mb.exp(x=v)),
            loop_vars=(np.int32(0), x),
        )[1]

    (result,) = run_mil(build, {"x": x})
    np.testing.assert_array_equal(result, x)


def test_blocks_in_blocks(run_mil: Any) -> None:
    """Each iteration doubles or halves; the inner branches read what stands two blocks around."""
    x = np.array([3.0, 5.0], np.float32)

    def build(x: Any) -> Any:
        factor = mb.identity(x=np.float32(2))

        def body(n: Any, v: Any) -> Any:
            small = mb.less(x=mb.reduce_max(x=v, axes=[0], keep_dims=False), y=np.float32(10))
            changed = mb.cond(
                pred=small,
                _true_fn=lambda: mb.mul(x=v, y=factor),
                _false_fn=lambda: mb.sub(x=v, y=x),
            )
            return mb.add(x=n, y=np.int32(1)), changed

        return mb.while_loop(
            _cond=lambda n, v: mb.less(x=n, y=np.int32(3)), _body=body, loop_vars=(np.int32(0), x)
        )[1]

    (result,) = run_mil(build, {"x": x})  # 3,5 -> 6,10 -> 3,5 -> 6,10
    assert result.tolist() == [6, 10]


def test_the_loops_of_another_converter(tmp_path: Path) -> None:
    """coremltools writes each layer of a torch GRU as a loop."""
    torch = pytest.importorskip("torch")

    class Grown(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.gru = torch.nn.GRU(6, 4, num_layers=2, bidirectional=True)

        def forward(self, x: Any) -> Any:
            return self.gru(x)[0]

    x = torch.from_numpy(_array(3, 7, 1, 6))
    module = Grown().eval()
    path = tmp_path / "grown.mlpackage"
    with quiet():
        converted = ct.convert(
            torch.jit.trace(module, x),
            inputs=[ct.TensorType(name="x", shape=x.shape)],
            convert_to="mlprogram",
            compute_precision=ct.precision.FLOAT32,
            skip_model_load=True,
        )
        converted.save(str(path))
    (result,) = Interpreter(path).run({"x": x.numpy()}).values()
    np.testing.assert_allclose(result, module(x).detach().numpy(), rtol=1e-5, atol=1e-6)
