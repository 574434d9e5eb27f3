"""A model from anywhere to one canonical ONNX model, the hub model."""

from edgewise.exporters.export import ExampleOpener, ExportResult, export, hub_model
from edgewise.exporters.opened import Shapes, SourceOptions
from edgewise.exporters.parity import Parity

__all__ = [
    "ExampleOpener",
    "ExportResult",
    "Parity",
    "Shapes",
    "SourceOptions",
    "export",
    "hub_model",
]
