"""Loading packages, sound and broken, and the interpreter's own interface."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgewise.errors import ModelError
from edgewise.targets.apple._coremltools import Builder as mb
from edgewise.targets.apple._coremltools import Function, Program, ct, quiet, types
from edgewise.targets.apple.interpreter import Interpreter

Array = npt.NDArray[Any]
_MODEL = Path("Data/com.apple.CoreML/model.mlmodel")
_WEIGHTS = Path("Data/com.apple.CoreML/weights/weight.bin")


@pytest.fixture
def package(save_mil: Callable[..., Path]) -> Path:
    """x [2, 40] -> doubled [2, 40], projected [2, 30]; the weight lives in weight.bin."""
    weight = np.arange(1200, dtype=np.float32).reshape(30, 40)

    def build(x: Any) -> list[Any]:
        doubled = mb.mul(x=x, y=np.float32(2), name="doubled")
        bounded = mb.relu(x=doubled, name="bounded")
        return [doubled, mb.linear(x=bounded, weight=weight, name="projected")]

    return save_mil(build, {"x": np.zeros((2, 40), np.float32)})


def _x() -> Array:
    return np.random.default_rng(0).normal(size=(2, 40)).astype(np.float32)


def test_specs(package: Path) -> None:
    interpreter = Interpreter(package)
    assert interpreter.input_names == ["x"]
    assert interpreter.output_names == ["doubled", "projected"]
    assert interpreter.inputs[0].shape == (2, 40)
    assert [(spec.shape, spec.dtype) for spec in interpreter.outputs] == [
        ((2, 40), np.float32),
        ((2, 30), np.float32),
    ]


def test_a_moved_package_still_runs(package: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere.mlpackage"
    shutil.move(package, moved)
    x = _x()
    outputs = Interpreter(str(moved)).run({"x": x})
    assert np.array_equal(outputs["doubled"], 2 * x)


def test_outputs_are_selected_and_ordered(package: Path) -> None:
    interpreter = Interpreter(package)
    assert list(interpreter.run({"x": _x()}, outputs=["projected"])) == ["projected"]
    assert list(interpreter.run({"x": _x()}, outputs=["projected", "doubled"])) == [
        "projected",
        "doubled",
    ]
    with pytest.raises(ModelError, match=r"no output 'bounded'.*doubled, projected"):
        interpreter.run({"x": _x()}, outputs=["bounded"])


def test_every_computed_tensor_is_observed_in_order(package: Path) -> None:
    seen: dict[str, Array] = {}
    outputs = Interpreter(package).run({"x": _x()}, observe=seen.__setitem__)
    assert list(seen) == ["doubled", "bounded", "projected"]
    assert np.array_equal(seen["bounded"], np.maximum(2 * _x(), 0))
    assert np.array_equal(seen["projected"], outputs["projected"])


def test_runs_do_not_disturb_each_other(save_mil: Any) -> None:
    constant = np.ones((1, 3), np.float32)

    def build(x: Any) -> list[Any]:
        return [mb.identity(x=x, name="same"), mb.identity(x=constant, name="constant")]

    x = np.zeros((1, 3), np.float32)
    interpreter = Interpreter(save_mil(build, {"x": x}))
    first = interpreter.run({"x": x})
    for array in first.values():
        array += 5  # results are the caller's own
    second = interpreter.run({"x": x})
    assert not x.any()
    assert not second["same"].any()
    assert np.array_equal(second["constant"], constant)


def test_operations_on_constants_run_once_at_load(save_mil: Any) -> None:
    def build(x: Any) -> Any:
        weight = mb.transpose(x=np.eye(3, dtype=np.float32) * 2, perm=[1, 0], name="folded")
        return mb.matmul(x=x, y=weight, name="result")

    x = np.ones((1, 3), np.float32)
    seen: list[str] = []
    outputs = Interpreter(save_mil(build, {"x": x})).run(
        {"x": x}, observe=lambda name, _: seen.append(name)
    )
    assert seen == ["result"]
    assert outputs["result"].tolist() == [[2, 2, 2]]


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        ({}, "inputs none were given.*the program's inputs are x"),
        ({"y": np.zeros((2, 40), np.float32)}, "inputs y were given"),
        ({"x": np.zeros((2, 41), np.float32)}, r"float32 \[2, 41\].*takes fp32 \[2, 40\]"),
        ({"x": np.zeros((80,), np.float32)}, r"float32 \[80\]"),
        ({"x": np.zeros((2, 40), np.int64)}, r"int64 \[2, 40\]"),
    ],
)
def test_unfit_inputs(package: Path, feeds: dict[str, Array], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        Interpreter(package).run(feeds)


def test_doubles_and_strides_are_taken(package: Path) -> None:
    x = np.asfortranarray(_x().astype(np.float64))
    assert np.array_equal(Interpreter(package).run({"x": x})["doubled"], 2 * _x())


def test_integer_inputs(save_mil: Any) -> None:
    indices = np.array([2, 0], np.int32)
    table = np.arange(6, dtype=np.float32).reshape(3, 2)
    path = save_mil(lambda i: mb.gather(x=table, indices=i, axis=0), {"i": indices})
    interpreter = Interpreter(path)
    assert interpreter.inputs[0].dtype == np.int32
    (result,) = interpreter.run({"i": indices.astype(np.int64)}).values()
    assert np.array_equal(result, table[indices])


def test_a_failing_operation_is_named(save_mil: Any) -> None:
    path = save_mil(
        lambda i: mb.gather(x=np.ones(3, np.float32), indices=i, axis=0, name="lookup"),
        {"i": np.array([0], np.int32)},
    )
    with pytest.raises(ModelError, match=r"'lookup' gather: the operation failed.*out of bounds"):
        Interpreter(path).run({"i": np.array([7], np.int32)})


def test_symbolic_shapes(tmp_path: Path) -> None:
    with quiet():
        from coremltools.converters.mil.mil import get_new_symbol

        x = mb.placeholder(shape=(1, 3, get_new_symbol(), 8), dtype=types.fp32)
        with Function({"x": x}, opset_version=ct.target.iOS17) as function:
            pooled = mb.max_pool(
                x=function.inputs["x"], kernel_sizes=[2, 2], strides=[2, 2], pad_type="same"
            )
            function.set_outputs([mb.reshape(x=pooled, shape=[3, -1], name="out")])
        program = Program()
        program.add_function("main", function)
        model = ct.convert(
            program,
            source="milinternal",
            convert_to="mlprogram",
            inputs=[ct.TensorType(name="x", shape=(1, 3, ct.RangeDim(2, 64, 10), 8))],
            minimum_deployment_target=ct.target.iOS17,
            compute_precision=ct.precision.FLOAT32,
            skip_model_load=True,
        )
        model.save(str(tmp_path / "dynamic.mlpackage"))
    interpreter = Interpreter(tmp_path / "dynamic.mlpackage")
    assert isinstance(interpreter.inputs[0].shape[2], str)
    for height in (4, 7):
        x = np.random.default_rng(height).normal(size=(1, 3, height, 8)).astype(np.float32)
        result = interpreter.run({"x": x})["out"]
        assert result.shape == (3, (height + 1) // 2 * 4)
        assert result.max() == x.max()


def test_optional_inputs_have_a_default(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")

    class Sum(torch.nn.Module):  # type: ignore[misc, name-defined]
        def forward(self, x: Any, y: Any) -> Any:
            return x + 2 * y

    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    with quiet():
        traced = torch.jit.trace(Sum(), (torch.zeros(2, 3), torch.zeros(2, 3)))
        model = ct.convert(
            traced,
            inputs=[
                ct.TensorType(name="x", shape=(2, 3)),
                ct.TensorType(name="y", shape=(2, 3), default_value=np.full((2, 3), 1.5, "f4")),
            ],
            minimum_deployment_target=ct.target.iOS16,
            compute_precision=ct.precision.FLOAT32,
            skip_model_load=True,
        )
        model.save(str(tmp_path / "default.mlpackage"))
    interpreter = Interpreter(tmp_path / "default.mlpackage")
    assert [spec.optional for spec in interpreter.inputs] == [False, True]
    (result,) = interpreter.run({"x": x}).values()
    assert np.array_equal(result, x + 3)
    (result,) = interpreter.run({"x": x, "y": x}).values()
    assert np.array_equal(result, 3 * x)
    with pytest.raises(ModelError, match="inputs y were given"):
        interpreter.run({"y": x})


def test_threads_do_not_change_the_result(package: Path) -> None:
    one, two = (Interpreter(package, threads=threads).run({"x": _x()}) for threads in (1, 2))
    np.testing.assert_allclose(one["projected"], two["projected"], rtol=1e-6)
