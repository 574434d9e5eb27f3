"""What ONNX Runtime says when it refuses a model, in terms of the model.

1. An operator that no standard or contributed set of operators has.
2. "Could not find an implementation for Max(13) node with name 'result'": the operator exists, but
   has no CPU kernel for that version of it, or for these types.
3. Anything else, without the error's number and the place in ONNX Runtime's source.
"""

from __future__ import annotations

import re

import onnx
import onnx_ir as ir

from edgewise.errors import ModelError, UnsupportedOperator
from edgewise.graph import node_label
from edgewise.targets.arm.schemes import TARGET_NAME

_WITHOUT_KERNEL = re.compile(
    r"(?:implementation|kernel) for ([\w.:]+)\((\d+)\) (?:node with name |\(node:)'([^']*)'"
)
_NUMBER = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : (Exception during initialization: )?")
_PLACE = re.compile(r"/\S*onnxruntime\S*:\d+ .*?\) (?=\S)")


def refusal_of(model: ir.Model, error: Exception) -> ModelError:
    """The error to raise in place of the runtime's."""
    for node in model.graph.all_nodes():
        if not _is_known(node):
            return UnsupportedOperator(
                node_label(node),
                f"{node.domain}::{node.op_type}" if node.domain else node.op_type,
                target=TARGET_NAME,
                why="ONNX Runtime's CPU provider does not know it",
                remedy="Export the model with standard ONNX operators.",
            )
    said = (str(error).strip().splitlines() or [""])[0]
    found = _WITHOUT_KERNEL.search(said)
    if found is not None:
        operator, version, name = found.groups()
        return UnsupportedOperator(
            name or operator,
            operator,
            target=TARGET_NAME,
            why=f"ONNX Runtime has no CPU kernel for it as of opset {version} and with these types",
            remedy="Export with an older opset, or Cast to a more common type around it.",
        )
    return ModelError(
        "ONNX Runtime cannot load the model",
        why=_PLACE.sub("", _NUMBER.sub("", said)),
        remedy="Check the model with onnx.checker, or upgrade onnxruntime.",
    )


def _is_known(node: ir.Node) -> bool:
    if node.domain == "com.microsoft":
        return True  # the runtime's own operators; onnx has no list of them
    return bool(onnx.defs.has(node.op_type, node.domain))
