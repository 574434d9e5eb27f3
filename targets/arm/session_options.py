"""How an application should open the file: what `manifest.json` says under `session`.

The keys are those of ONNX Runtime's Python API; `config` holds entries for `AddSessionConfigEntry`.
`in_c` and `in_java` spell the same out as calls on its session options.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ORT_SUFFIX = ".ort"

#: what an application should set, and what is set here
SESSION_OPTIONS: Mapping[str, Any] = {
    "runtime": "onnxruntime",
    "execution_providers": ["CPUExecutionProvider"],
    "graph_optimization_level": "ORT_ENABLE_ALL",
    "execution_mode": "ORT_SEQUENTIAL",
    "inter_op_num_threads": 1,
    "enable_cpu_mem_arena": True,
}
_IN_C = (
    "SetSessionGraphOptimizationLevel(options, ORT_ENABLE_ALL)",
    "SetSessionExecutionMode(options, ORT_SEQUENTIAL)",
    "SetInterOpNumThreads(options, 1)",
    "EnableCpuMemArena(options)",
)
_IN_JAVA = (
    "setOptimizationLevel(OptLevel.ALL_OPT)",
    "setExecutionMode(ExecutionMode.SEQUENTIAL)",
    "setInterOpNumThreads(1)",
    "setCPUArenaAllocator(true)",
)


def session_options(*, ort_format: bool) -> dict[str, Any]:
    """The options for a file, as they stand in its manifest."""
    config = {"session.load_model_format": "ORT"} if ort_format else {}
    entries = [f'("{key}", "{value}")' for key, value in config.items()]
    return {
        **SESSION_OPTIONS,
        "config": config,
        "in_c": [*_IN_C, *(f"AddSessionConfigEntry(options, {e[1:]}" for e in entries)],
        "in_java": [*_IN_JAVA, *(f"addConfigEntry{e}" for e in entries)],
    }
