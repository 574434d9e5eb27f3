"""Makes a Python pass for one on a Mac: Apple's framework at its documented interface.

coremltools hands these calls on to Core ML, which only macOS has. Here they compute with Edgewise's
interpreter, so that everything around Core ML can be tried anywhere:
https://apple.github.io/coremltools/docs-guides (Model Prediction, Stateful Models, MLComputePlan).
"""

from __future__ import annotations

import os
import platform
import shutil
from types import SimpleNamespace
from typing import Any

import numpy as np

from edgewise.imports import claim_process

claim_process()  # no frameworks: the start is quicker

import coremltools as ct  # noqa: E402
from coremltools.models import compute_plan  # noqa: E402

#: a compiled model is a folder, in which the stand-in keeps the package
_INSIDE = "package"

if os.environ.get("STANDIN_SYSTEM", "Darwin") == "Darwin":
    platform.system = lambda: "Darwin"  # type: ignore[assignment]
    platform.mac_ver = lambda *_: ("26.1", ("", "", ""), "arm64")  # type: ignore[assignment]


def compile_model(model: str, destination_path: str) -> str:
    if os.environ.get("STANDIN_FAULT") == "compile":
        raise RuntimeError("Error compiling model: in operation conv_1\nmore about it")
    shutil.copytree(model, f"{destination_path}/{_INSIDE}")
    return destination_path


class MLState:
    def __init__(self, memory: Any) -> None:
        self.memory = memory

    def read_state(self, name: str) -> Any:
        return self.memory.read(name)

    def write_state(self, name: str, value: Any) -> None:
        self.memory.write(name, value)


class CompiledMLModel:
    def __init__(self, path: str, compute_units: Any, function_name: str | None = None) -> None:
        from edgewise.targets.apple.interpreter import Interpreter

        assert compute_units in ct.ComputeUnit
        self._interpreter = Interpreter(f"{path}/{_INSIDE}", function=function_name)

    def predict(self, data: dict[str, Any], state: MLState | None = None) -> dict[str, Any]:
        feeds = {k: v if isinstance(v, np.ndarray) else np.asarray(v) for k, v in data.items()}
        found = self._interpreter.run(feeds, state=None if state is None else state.memory)
        return dict(found)

    def make_state(self) -> MLState:
        return MLState(self._interpreter.make_state())


class MLCPUComputeDevice: ...


class MLNeuralEngineComputeDevice: ...


class MLComputePlan:
    """Convolutions and what they need on the Neural Engine, and everything else on the CPU."""

    def __init__(self, path: str) -> None:
        from edgewise.targets.apple.interpreter.program import load_program

        function = load_program(f"{path}/{_INSIDE}", None).function
        kept = [o for o in function.operations if o.op_type != "const"]
        operations = [
            SimpleNamespace(
                operator_name=f"ios17.{o.op_type}",
                outputs=[SimpleNamespace(name=v.name) for v in o.outputs],
                blocks=[],
            )
            for o in kept
        ]
        block = SimpleNamespace(operations=operations)
        program = SimpleNamespace(functions={"main": SimpleNamespace(block=block)})
        self.model_structure = SimpleNamespace(program=program)

    @classmethod
    def load_from_path(cls, path: str, compute_units: Any) -> MLComputePlan:
        assert compute_units in ct.ComputeUnit
        return cls(path)

    def get_compute_device_usage_for_mlprogram_operation(self, operation: Any) -> Any:
        cpu, engine = MLCPUComputeDevice(), MLNeuralEngineComputeDevice()
        kind = operation.operator_name.rpartition(".")[2]
        if kind in ("cast", "identity"):
            return None
        preferred = engine if kind in ("conv", "quantize", "dequantize", "tan") else cpu
        return SimpleNamespace(
            preferred_compute_device=preferred, supported_compute_devices=[cpu, engine]
        )

    def get_estimated_cost_for_mlprogram_operation(self, operation: Any) -> Any:
        heavy = operation.operator_name.endswith("conv")
        return SimpleNamespace(weight=0.3) if heavy else None


ct.models.utils.compile_model = compile_model
ct.models.CompiledMLModel = CompiledMLModel
compute_plan.MLComputePlan = MLComputePlan
