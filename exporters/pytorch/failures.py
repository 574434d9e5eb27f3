"""What torch's exporters say when they fail, in one line.

Their messages are pages long, and what happened is in an exception that they wrap:
1. `GuardOnDataDependentSymNode`: Python decides by the values of a tensor. torch names the place
   ('File "x.py", line 3, in forward', and the line itself; of `x.item()` only "Caused by:
   (x.py:3 in forward)").
2. "tracing inferred a static shape of 2 for dimension inputs['x'].shape[0]", or "specialized it
   to be a constant (2)": forward works for one size of a dimension that is to stay free.
3. `DispatchError`, `UnsupportedOperatorError`: an operator has no ONNX form; "Couldn't export
   Python operator": an autograd function has none.
4. "no fake impl registered": a custom operator cannot be traced.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgewise.errors import ModelError
from edgewise.exporters.pytorch.running import import_torch

_PLACE = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+), in [^\n]*\n\s*(?P<code>[^\n]+)')
_CAUSE = re.compile(r"Caused by: \((?P<file>[^():\s]+):(?P<line>\d+) in ")
_STATIC = re.compile(
    r"static shape of (?P<size>\d+) for dimension inputs\['(?P<input>[^']+)'\]"
    r"\.shape\[(?P<axis>\d+)\]"
)
_CONSTANT = re.compile(
    r"L\['(?P<input>[^']+)'\]\.size\(\)\[(?P<axis>\d+)\].*?constant \((?P<size>\d+)\)", re.DOTALL
)
_OPERATORS = (
    re.compile(r"No ONNX function found for <OpOverload\(op='(\w+)\.(\w+)'"),
    re.compile(r"operator with unrecognized namespace (\w+)::(\w+)"),
    re.compile(r"Exporting the operator '(\w+)::(\w+)'"),
)
_AUTOGRAD = re.compile(r"Couldn't export Python operator (\w+)")
_NO_FAKE = re.compile(r"no fake impl registered for \D*?(\w+)(?:::|\.)(\w+)")


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an exporter failed. `final`: another one would freeze what this one refused."""

    why: str
    what: str = "torch cannot export the model"
    remedy: str = "Make forward traceable: torch.export.export must accept it."
    final: bool = False

    def error(self, where: str) -> ModelError:
        return ModelError(self.what, where=where, why=self.why, remedy=self.remedy)


def explain(error: BaseException) -> Failure:
    """The failure of either exporter."""
    chain = list(_chain(error))
    text = "\n".join(str(link) for link in chain)
    for link in chain:
        if type(link).__name__ == "GuardOnDataDependentSymNode" or "data-dependent" in str(link):
            return _data_dependent(text)
    if static := _STATIC.search(text) or _CONSTANT.search(text):
        return specialized(static["input"], int(static["axis"]), int(static["size"]))
    for pattern in _OPERATORS:
        if found := pattern.search(text):
            return _no_onnx_form(f"{found[1]}::{found[2]}")
    if found := _AUTOGRAD.search(text):
        return _no_onnx_form(found[1], "autograd function")
    if found := _NO_FAKE.search(text):
        name = f"{found[1]}::{found[2]}"
        return Failure(
            f"the custom operator '{name}' has no fake implementation, which tracing needs",
            remedy="Give it one (torch.library.register_fake), and an ONNX form: write it with "
            "torch's own operators.",
        )
    return Failure(first_line(chain[-1]))


def both(dynamo: Failure, torchscript: Failure, where: str) -> ModelError:
    """The error where neither exporter works."""
    if dynamo.why == torchscript.why:
        return dynamo.error(where)
    why = f"dynamo: {dynamo.why.rstrip('.')}; TorchScript: {torchscript.why}"
    return ModelError(dynamo.what, where=where, why=why, remedy=dynamo.remedy)


def specialized(name: str, axis: int, size: int) -> Failure:
    """A dimension that cannot stay free."""
    return Failure(
        f"forward works for a size of {size} only",
        what=f"dimension {axis} of input '{name}' cannot stay free",
        remedy=f"Give {size} in the place of its name in input_shapes, or take the size from the "
        "input in forward.",
    )


def first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__


def _data_dependent(text: str) -> Failure:
    torch = str(Path(import_torch().__file__).parent)
    places = [m for m in _PLACE.finditer(text) if not m["file"].startswith(torch)]
    told = ""
    if places:
        file, line, code = places[-1].group("file", "line", "code")
        told = f"{Path(file).name}, line {line}: {code.strip()}"
    elif found := _CAUSE.search(text):
        told = f"{Path(found['file']).name}, line {found['line']}"
    return Failure(
        told or "torch does not say where",
        what="forward decides by the values of a tensor, which a graph cannot do",
        remedy="Use torch.where or torch.cond there, or export torch.jit.script(module), saved "
        "as .pt.",
        final=True,
    )


def _no_onnx_form(name: str, kind: str = "operator") -> Failure:
    return Failure(
        f"the {kind} '{name}' has no ONNX form",
        remedy="Write it with torch's own operators, or leave it to the code around the model.",
    )
