"""Programs made with coremltools' builder, saved, loaded back and run by the interpreter."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgewise.targets.apple._coremltools import Builder, Function, Program, ct, quiet, types
from edgewise.targets.apple.interpreter import Interpreter
from edgewise.targets.apple.interpreter.kernels import KERNELS
from edgewise.targets.apple.interpreter.kernels.base import Node

Array = npt.NDArray[Any]
Build = Callable[..., Any]

_TYPES = {
    np.dtype(np.float16): types.fp16,
    np.dtype(np.float32): types.fp32,
    np.dtype(np.int32): types.int32,
}


@pytest.fixture
def save_mil(tmp_path: Path) -> Callable[..., Path]:
    """Save `build(**variables)` as a package; no pass changes the operations that it makes."""

    def save(build: Build, feeds: Mapping[str, Array], *, target: Any = None) -> Path:
        target = ct.target.iOS17 if target is None else target
        placeholders = {
            name: Builder.placeholder(shape=array.shape, dtype=_TYPES[array.dtype])
            for name, array in feeds.items()
        }
        with quiet():
            with Function(placeholders, opset_version=target) as function:
                made = build(**function.inputs)
                outputs = list(made) if isinstance(made, list | tuple) else [made]
                function.set_outputs(outputs)
                function.set_output_types([ct.TensorType(dtype=None) for _ in outputs])
            program = Program()
            program.add_function("main", function)
            model = ct.convert(
                program,
                source="milinternal",
                convert_to="mlprogram",
                minimum_deployment_target=target,
                pass_pipeline=ct.PassPipeline.EMPTY,
                skip_model_load=True,
            )
            path = tmp_path / f"program{len(list(tmp_path.iterdir()))}.mlpackage"
            model.save(str(path))
        return path

    return save


@pytest.fixture
def run_mil(save_mil: Callable[..., Path]) -> Callable[..., list[Array]]:
    """The outputs of `build(**variables)`, saved, loaded and run on `feeds`."""

    def run(build: Build, feeds: Mapping[str, Array], **options: Any) -> list[Array]:
        rounding = options.pop("rounding", "declared")
        interpreter = Interpreter(save_mil(build, feeds, **options), rounding=rounding)
        return list(interpreter.run(feeds).values())

    return run


@pytest.fixture(scope="session")
def apply_kernel() -> Callable[..., Any]:
    """A kernel called by itself; every argument is at once a constant and a run-time input."""

    def apply(op_type: str, **arguments: Any) -> Any:
        values = {
            name: value if isinstance(value, list | str) else np.asarray(value)
            for name, value in arguments.items()
        }
        node = Node("node", op_type, frozenset(values), values)
        with np.errstate(all="ignore"):
            return KERNELS[op_type](node)(values)

    return apply
