"""ONNX models that can never run, whatever they are fed with.

ONNX's checker looks at single nodes only, so such models pass it:

1. an opset that is newer than ONNX Runtime knows
2. shapes or types that contradict each other, which ONNX Runtime finds when it loads the model
3. shapes that a kernel refuses, which it finds when it runs the model

What else ONNX Runtime refuses may only be an operator that it has no kernel for (NOT_IMPLEMENTED):
such a model is right, but cannot be compared with anything.
"""

from __future__ import annotations

import re

import onnx_ir as ir

from edgewise.errors import ModelError
from edgewise.graph import OrtSession
from edgewise.graph.weightless import call_without_weights

_NEWER_OPSET = re.compile(
    r"Opset (?P<found>\d+) is under development.* for domain (?P<domain>\S+) is till opset "
    r"(?P<known>\d+)",
    re.DOTALL,
)
#: how ONNX Runtime tells of a contradiction, by what it looks at: shapes, types, schemas
_CONTRADICTIONS = (
    re.compile(
        r"Node \((?P<node>.*?)\) Op \((?P<op>\w+)\) \[(?:Shape|Type)InferenceError\] (?P<why>.*)"
    ),
    re.compile(r"Type Error: (?P<why>.* of operator \((?P<op>\w+)\) in node \((?P<node>.*?)\).*)"),
    re.compile(r"Type Error: (?P<why>.* of Optype \((?P<op>\w+)\) .* in node \((?P<node>.*?)\).*)"),
    re.compile(r'In Node, \("(?P<node>.*?)", (?P<op>\w+), .*?, Error (?P<why>.*)'),
)
_KERNEL = re.compile(
    r"while running (?P<op>\w+) node\. Name:'(?P<node>.*?)' Status Message: (?P<why>.*)"
)
#: of an assertion: the place in C++ and the signature of the function, before what it means
_CODE = re.compile(r"^/\S+:\d+ .*\) (?=\S)")


class UnrunnableModel(ModelError):
    """A model that no input can be computed with."""


def refuse_contradictions(model: ir.Model, where: str) -> None:
    """Raises UnrunnableModel in cases 1 and 2. The weights are not looked at."""
    try:
        OrtSession(call_without_weights(model, lambda proto: proto.SerializeToString()))
    except ModelError as error:
        text = str(error.__cause__).strip()
    else:
        return
    if newer := _NEWER_OPSET.search(text):
        raise UnrunnableModel(
            f"opset {newer['found']} is too new",
            where=where,
            why=f"ONNX Runtime knows domain {newer['domain']} up to opset {newer['known']}",
            remedy="Export the model again with an older opset.",
        )
    found = next((match for form in _CONTRADICTIONS if (match := form.search(text))), None)
    if found is not None:
        raise _never_runs(found, where)


def refuse_failing_kernel(error: ModelError, hub: ir.Model) -> None:
    """Raises UnrunnableModel in case 3.

    Args:
        error: what running the hub model ended with.
        hub: the model; a kernel that has failed on inputs of static shapes, of which all but the
            floats are constants, fails on all others, too.
    """
    found = _KERNEL.search(str(error.__cause__))
    if found is None:
        return
    node = next((node for node in hub.graph if node.name == found["node"]), None)
    if node is not None and all(map(_always_alike, node.inputs)):
        raise _never_runs(found, "") from error


def _always_alike(value: ir.Value | None) -> bool:
    """Whether a kernel meets the same shapes and integers in every run."""
    if value is None or value.const_value is not None:
        return True
    is_float = value.dtype is not None and value.dtype.is_floating_point()
    return is_float and value.shape is not None and value.shape.is_static()


def _never_runs(found: re.Match[str], where: str) -> UnrunnableModel:
    node = f"node '{found['node']}'" if found["node"] else "a node without a name"
    return UnrunnableModel(
        "the model can never run",
        where=where,
        why=f"{node} ({found['op']}): {_CODE.sub('', found['why'])}",
        remedy="Correct that layer, and export the model again.",
    )
