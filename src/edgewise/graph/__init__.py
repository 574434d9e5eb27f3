"""ONNX graphs in memory: reading, writing, preparing and asking questions of them.

Every stage holds a model as `onnx_ir.Model`. Nothing here knows of targets or quantization schemes.
"""

from edgewise.graph.io import load, save, to_bytes
from edgewise.graph.known_ranges import (
    attach_known_ranges,
    forget_known_ranges,
    known_ranges,
)
from edgewise.graph.prepare import HUB_OPSET, prepare
from edgewise.graph.quantized import (
    TensorQuantization,
    activation_dtypes,
    is_quantized_model,
    quantization_of,
)
from edgewise.graph.read import (
    attribute,
    constant,
    consumers,
    node_label,
    resolve_pads,
    static_shape,
)
from edgewise.graph.run import OrtSession
from edgewise.graph.write import add_initializer

__all__ = [
    "HUB_OPSET",
    "OrtSession",
    "TensorQuantization",
    "activation_dtypes",
    "add_initializer",
    "attach_known_ranges",
    "attribute",
    "constant",
    "consumers",
    "forget_known_ranges",
    "is_quantized_model",
    "known_ranges",
    "load",
    "node_label",
    "prepare",
    "quantization_of",
    "resolve_pads",
    "save",
    "static_shape",
    "to_bytes",
]
