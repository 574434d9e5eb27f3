"""States: `read_state` and `coreml_update_state`, in packages that coremltools made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgewise.errors import ModelError
from edgewise.targets.apple._coremltools import Builder as mb
from edgewise.targets.apple._coremltools import Function, Program, ct, quiet, types
from edgewise.targets.apple.interpreter import Interpreter


@pytest.fixture
def accumulator(tmp_path: Path) -> Path:
    """before = sum; sum += x; after = sum; the state is read again behind its update."""
    inputs = {
        "x": mb.placeholder(shape=(2, 3), dtype=types.fp16),
        "sum": mb.state_tensor_placeholder(shape=(2, 3), dtype=types.fp16),
    }
    with quiet():
        with Function(inputs, opset_version=ct.target.iOS18) as function:
            x, state = function.inputs["x"], function.inputs["sum"]
            before = mb.read_state(input=state)
            updated = mb.coreml_update_state(state=state, value=mb.add(x=before, y=x))
            after = mb.mul(x=updated, y=np.float16(2), name="doubled")
            again = mb.read_state(input=state)
            old = mb.identity(x=before, name="before")
            function.set_outputs([old, after, mb.identity(x=again, name="again")])
        program = Program()
        program.add_function("main", function)
        model = ct.convert(
            program,
            source="milinternal",
            convert_to="mlprogram",
            minimum_deployment_target=ct.target.iOS18,
            pass_pipeline=ct.PassPipeline.EMPTY,
            skip_model_load=True,
        )
        path = tmp_path / "state.mlpackage"
        model.save(str(path))
    return path


def ones(value: float = 1.0) -> np.ndarray:
    return np.full((2, 3), value, np.float16)


def test_specs(accumulator: Path) -> None:
    interpreter = Interpreter(accumulator)
    assert interpreter.input_names == ["x"]
    assert [(s.name, s.shape, s.dtype) for s in interpreter.states] == [("sum", (2, 3), np.float16)]


def test_a_state_is_read_before_and_behind_its_update(accumulator: Path) -> None:
    interpreter = Interpreter(accumulator)
    state = interpreter.make_state()
    for step in range(1, 4):
        results = interpreter.run({"x": ones()}, state=state)
        assert np.array_equal(results["before"], ones(step - 1))
        assert np.array_equal(results["again"], ones(step))
        assert np.array_equal(results["doubled"], ones(2 * step))
    assert np.array_equal(state.read("sum"), ones(3))


def test_states_are_apart(accumulator: Path) -> None:
    interpreter = Interpreter(accumulator)
    one, other = interpreter.make_state(), interpreter.make_state()
    interpreter.run({"x": ones()}, state=one)
    assert one.names == ["sum"]
    assert np.array_equal(other.read("sum"), ones(0))
    assert np.array_equal(interpreter.run({"x": ones()})["again"], ones())
    assert np.array_equal(interpreter.run({"x": ones()})["again"], ones())


def test_what_is_written_is_copied_and_rounded(accumulator: Path) -> None:
    interpreter = Interpreter(accumulator)
    state = interpreter.make_state()
    given = np.full((2, 3), 0.1, np.float32)
    state.write("sum", given)
    given[:] = 7
    expected = np.full((2, 3), np.float16(0.1))
    assert np.array_equal(state.read("sum"), expected)
    held = state.read("sum")
    held[:] = 9
    assert np.array_equal(state.read("sum"), expected)
    exact = Interpreter(accumulator, rounding="none").make_state()
    exact.write("sum", np.full((2, 3), 0.1, np.float32))
    assert np.array_equal(exact.read("sum"), np.full((2, 3), np.float32(0.1)))


def test_what_a_state_does_not_take(accumulator: Path) -> None:
    state = Interpreter(accumulator).make_state()
    with pytest.raises(ModelError, match="no state 'total'"):
        state.read("total")
    with pytest.raises(ModelError, match="no state 'total'"):
        state.write("total", ones())
    with pytest.raises(ModelError, match=r"got float16 \[2\]"):
        state.write("sum", np.zeros(2, np.float16))
    with pytest.raises(ModelError, match="got int64"):
        state.write("sum", np.zeros((2, 3), np.int64))
