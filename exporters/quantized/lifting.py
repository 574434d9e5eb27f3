"""What a walk over a quantized graph keeps in mind: which float tensor each integer tensor holds.

An integer tensor q with scale s and zero point z stands for the float tensor r = (q - z) s. The
walk replaces every node that makes or reads q by one on r, and remembers (s, z) for r: what the
source chose for this tensor. Rounding and saturation of q are not in the float model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgewise.errors import ModelError
from edgewise.findings import Finding
from edgewise.graph import TensorQuantization, add_initializer, constant, node_label
from edgewise.graph.known_ranges import DTYPES
from edgewise.graph.write import names_of_values

#: what onnxruntime.quantization appends to the user's names
_SUFFIXES = ("_quantized", "_quant")


@dataclass(frozen=True, slots=True)
class Held:
    """The float tensor that an integer tensor holds; `parameters` is None where they are computed
    anew for each input."""

    real: ir.Value
    parameters: TensorQuantization | None


class Lifted:
    """The state of the walk. `known` has what the source chose, by float tensor; `rounded` has
    every weight that lies on a grid, whether or not its scales are kept."""

    def __init__(self, model: ir.Model) -> None:
        self.graph = model.graph
        self.held: dict[ir.Value, Held] = {}
        self.known: dict[ir.Value, TensorQuantization] = {}
        self.rounded: set[ir.Value] = set()
        self.findings: list[Finding] = []
        self.dynamic = False
        #: at the border, by name: float now, and integers before
        self.inputs: dict[str, TensorQuantization] = {}
        self.outputs: dict[str, TensorQuantization] = {}
        self.activated: dict[ir.Value, ir.Value] = {}
        self._constants: dict[ir.Value, list[Held]] = {}
        self._taken = names_of_values(model.graph)
        self._nodes = {node.name for node in model.graph.all_nodes()}

    # ---- values

    def know(self, value: ir.Value, parameters: TensorQuantization) -> None:
        """Keep the parameters, unless others were found for the tensor before."""
        if constant(value) is not None:
            parameters = _in_bytes(parameters)
        if parameters.block_size or parameters.zero_point.dtype.name not in DTYPES:
            return
        first = self.known.setdefault(value, parameters)
        if not first.same_as(parameters):
            self.findings.append(
                Finding(
                    "export/quantized",
                    "info",
                    f"tensor '{value.name}' is quantized again with another scale; its first one, "
                    f"{describe(first)}, is kept",
                )
            )

    def constant(self, value: ir.Value, parameters: TensorQuantization) -> ir.Value:
        """The float constant for a constant of integers; the same one for the same parameters."""
        made = self._constants.setdefault(value, [])
        for held in made:
            if held.parameters is not None and held.parameters.same_as(parameters):
                return held.real
        array = constant(value)
        if array is None:
            raise ValueError(f"'{value.name}' is not constant")
        real = self.replacement(value, parameters.dequantize(array))
        made.append(Held(real, parameters))
        self.know(real, parameters)
        if array.dtype.name != "int32":  # a bias
            self.rounded.add(real)
        return real

    def replacement(self, value: ir.Value, array: npt.NDArray[Any]) -> ir.Value:
        """A constant in the place of another one, under the user's name for it."""
        name = plain(value.name)
        if name == value.name:
            value.name = self.unique(f"{name}_stored")
            self._taken.discard(name)
        return self.new_constant(name, array)

    def new_constant(self, name: str, array: npt.NDArray[Any]) -> ir.Value:
        return add_initializer(self.graph, name, array, self._taken)

    def real(self, value: ir.Value, parameters: TensorQuantization) -> ir.Value:
        """The float tensor of an operand that is stored with these parameters.

        Raises ModelError: nothing tells what the integers are.
        """
        if constant(value) is not None:
            return self.constant(value, parameters)
        held = self.held.get(value)
        if held is None and value.is_graph_input():
            held = self._lift_input(value, parameters)
        if held is None:
            raise ModelError(
                f"tensor '{value.name}' holds integers that no operator quantized",
                where="the quantized model",
                remedy="Give the float model that it was made from.",
            )
        if held.parameters is None or held.parameters.same_as(parameters):
            return held.real
        return self._read_otherwise(held.real, held.parameters, parameters)

    def _lift_input(self, value: ir.Value, parameters: TensorQuantization) -> Held:
        """A quantized input of the model becomes a float one of the same name."""
        real = ir.Value(name=value.name, shape=value.shape, type=ir.TensorType(ir.DataType.FLOAT))
        self.graph.inputs[self.graph.inputs.index(value)] = real
        value.name = self.unique(f"{value.name}_integers")
        self.know(real, parameters)
        self.held[value] = Held(real, parameters)
        self.inputs[real.name or ""] = parameters
        self.findings.append(_border("input", real.name, parameters))
        return self.held[value]

    def _read_otherwise(
        self, real: ir.Value, made: TensorQuantization, read: TensorQuantization
    ) -> ir.Value:
        """Integers made with (s, z) and read with (t, y): (r / s + z - y) t."""
        factor = read.scale.astype(np.float64) / made.scale
        shift = read.scale * (made.zero_point.astype(np.float64) - read.zero_point)
        value = real
        for op_type, operand in (("Mul", factor), ("Add", shift)):
            if factor.ndim or shift.ndim:
                raise ModelError(
                    f"tensor '{real.name}' is written and read with different scales per channel",
                    where="the quantized model",
                    remedy="Give the float model that it was made from.",
                )
            name = f"{real.name}_{op_type.lower()}"
            number = self.new_constant(f"{name}_number", operand.astype(np.float32))
            value = self.add(op_type, [value, number], name=name)[0]
        return value

    # ---- nodes

    def add(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        attributes: Mapping[str, Any] | None = None,
        *,
        name: str,
        outputs: Sequence[str] = (),
        before: ir.Node | None = None,
    ) -> Sequence[ir.Value]:
        """A new node; before another one, or at the end (the graph is sorted afterwards)."""
        unique, count = name, 1
        while unique in self._nodes:
            unique, count = f"{name}_{count}", count + 1
        self._nodes.add(unique)
        node = ir.node(
            op_type,
            list(inputs),
            dict(attributes or {}),
            name=unique,
            num_outputs=max(len(outputs), 1),
        )
        for value, wanted in zip(node.outputs, outputs or (name,), strict=True):
            value.name = self.unique(wanted)
            value.type = ir.TensorType(ir.DataType.FLOAT)
        if before is None or before.graph is not self.graph:
            self.graph.append(node)
        else:
            self.graph.insert_before(before, node)
        return node.outputs

    def stand_in(
        self,
        old: ir.Node,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        attributes: Mapping[str, Any] | None = None,
    ) -> Sequence[ir.Value]:
        """A float node for an integer one, with the names that the user gave; the old one dies."""
        name, old.name = plain(old.name), self._node_name(f"{old.name}_integers")
        self._nodes.discard(name)
        names = []
        for value in old.outputs:
            if value.is_graph_output():  # the name goes over with the place, see `_put_out`
                names.append(f"{value.name}_real")
                continue
            names.append(plain(value.name))
            value.name = self.unique(f"{value.name}_integers")
            self._taken.discard(names[-1])
        attributes = dict(old.attributes) if attributes is None else attributes
        return self.add(op_type, inputs, attributes, name=name, outputs=names, before=old)

    def activate(self, value: ir.Value, top: float | None) -> ir.Value:
        """A Relu, or a Clip from 0 to `top`, behind a computed tensor, whose name goes to the
        result."""
        producer, name = value.producer(), value.name or ""
        label = name if producer is None or not producer.name else producer.name
        if not value.is_graph_output():
            value.name = self.unique(f"{name}_unbounded")
            self._taken.discard(name)
        inputs = [value]
        if top is not None:
            inputs += [
                self.new_constant(f"{name}_{side}", np.array(bound, np.float32))
                for side, bound in (("lowest", 0.0), ("highest", top))
            ]
        kind = "Relu" if top is None else "Clip"
        made = self.add(kind, inputs, name=f"{label}_{kind.lower()}", outputs=[name])[0]
        made.shape = value.shape
        return made

    def hold(
        self, integers: ir.Value, real: ir.Value, parameters: TensorQuantization | None
    ) -> None:
        """`real` stands for `integers` from now on."""
        real.shape = real.shape or integers.shape
        self.held[integers] = Held(real, parameters)
        if parameters is not None:
            self.know(real, parameters)

    def substitute(self, old: ir.Value, new: ir.Value) -> None:
        """Readers of `old` read `new`, which takes its name where it is an output of the model."""
        new.shape = new.shape or old.shape
        for index, output in enumerate(self.graph.outputs):
            if output is old:
                self._put_out(index, old, new)
        old.replace_all_uses_with(new)

    def _put_out(self, index: int, old: ir.Value, new: ir.Value) -> None:
        name = old.name or ""
        old.name = self.unique(f"{name}_integers")
        self._taken.discard(name)
        if new.producer() is None or new.is_graph_output():
            new = self.add("Identity", [new], name=f"{name}_copy", outputs=[name])[0]
        else:
            new.name = self.unique(name)
        new.shape = new.shape or old.shape
        self.graph.outputs[index] = new

    def lift_outputs(self) -> None:
        """Outputs of integers become float ones of the same names."""
        for index, output in enumerate(self.graph.outputs):
            held = self.held.get(output)
            if held is None:
                continue
            if held.parameters is not None:
                self.outputs[output.name or ""] = held.parameters
                self.findings.append(_border("output", output.name, held.parameters))
            self._put_out(index, output, held.real)

    def unique(self, name: str) -> str:
        found, count = name, 1
        while found in self._taken:
            found, count = f"{name}_{count}", count + 1
        self._taken.add(found)
        return found

    def _node_name(self, name: str) -> str:
        self._nodes.add(name)
        return name


def _in_bytes(parameters: TensorQuantization) -> TensorQuantization:
    """The same scales for 8 bits, in which a target stores what the source has in 4: unsigned
    integers move by 8, (q - 8) - (z - 8) = q - z."""
    dtype = parameters.zero_point.dtype.name
    if dtype not in ("int4", "uint4"):
        return parameters
    zero_point = parameters.zero_point.astype(np.int8) - np.int8(8 if dtype == "uint4" else 0)
    return replace(parameters, zero_point=np.asarray(zero_point, np.int8))


def plain(name: str | None) -> str:
    """A name without what the quantizer appended to it."""
    for suffix in _SUFFIXES:
        if name and name.endswith(suffix) and name != suffix:
            return name.removesuffix(suffix)
    return name or "value"


def describe(parameters: TensorQuantization) -> str:
    """`int8, scale 0.05, zero point 3`."""
    if parameters.scale.ndim:
        return f"{parameters.zero_point.dtype.name}, {parameters.scale.size} scales"
    return (
        f"{parameters.zero_point.dtype.name}, scale {parameters.scale!s}, "
        f"zero point {int(parameters.zero_point)}"
    )


def _border(side: str, name: str | None, parameters: TensorQuantization) -> Finding:
    return Finding(
        "export/quantized-border",
        "info",
        f"{side} '{name}' is float in the hub model; its integers were {describe(parameters)}",
        remedy="Targets that store integers at the border choose them again.",
    )


def unsupported(node: ir.Node, why: str) -> ModelError:
    return ModelError(
        f"the float form of {node.op_type} is not known",
        where=f"node '{node_label(node)}'",
        why=why,
        remedy="Give the float model that the quantized one was made from.",
    )
