"""One command from a trained model to validated Android, Apple and ARM artifacts.

>>> import edgewise
>>> result = edgewise.build("model.onnx", calibration="data/calib", evaluation="data/labels.csv")
>>> result.ok, result.report.targets["android"].accuracy.drop  # doctest: +SKIP

`build` runs all stages; `export`, `calibrate`, `quantize`, `edgewise.targets.get(name).emit` and
`validate` are the stages themselves. Importing `edgewise` is cheap: what a name needs is imported
when the name is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgewise import qat, targets
    from edgewise.data import ImagePreprocessing
    from edgewise.errors import EdgewiseError
    from edgewise.execution import run
    from edgewise.exporters import SourceOptions
    from edgewise.inspection import inspect
    from edgewise.pipeline import BuildResult, build
    from edgewise.stages import calibrate, export, quantize, validate
    from edgewise.targets.validation import Budget

__all__ = [
    "Budget",
    "BuildResult",
    "EdgewiseError",
    "ImagePreprocessing",
    "SourceOptions",
    "__version__",
    "build",
    "calibrate",
    "export",
    "inspect",
    "qat",
    "quantize",
    "run",
    "targets",
    "validate",
]

_HOMES = {
    "Budget": "edgewise.targets.validation",
    "BuildResult": "edgewise.pipeline",
    "EdgewiseError": "edgewise.errors",
    "ImagePreprocessing": "edgewise.data",
    "SourceOptions": "edgewise.exporters",
    "build": "edgewise.pipeline",
    "calibrate": "edgewise.stages",
    "export": "edgewise.stages",
    "inspect": "edgewise.inspection",
    "quantize": "edgewise.stages",
    "run": "edgewise.execution",
    "validate": "edgewise.stages",
}

#: packages that are part of the public API themselves
_PACKAGES = ("qat", "targets")


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return import_module(f"edgewise.{name}")
    if name == "__version__":
        from importlib.metadata import version

        return version("edgewise")
    if name not in _HOMES:
        raise AttributeError(f"module 'edgewise' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
