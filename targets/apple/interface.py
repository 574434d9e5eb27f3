"""What goes into a package and comes out of it: for the manifest, and for Core ML's description.

The program knows tensors only. Around them the description of a package may have pictures, a
classifier's label and dictionary, and states; the manifest tells for each input and output of the
model under which name and in which form the package has it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from edgewise.graph import static_shape
from edgewise.targets.apple.classifier import Classifier
from edgewise.targets.apple.deployment import Need
from edgewise.targets.apple.images import Picture
from edgewise.targets.apple.legalize import LegalModel
from edgewise.targets.apple.states import NEED as STATE_NEED
from edgewise.targets.base import TensorSignature

if TYPE_CHECKING:
    from edgewise.targets.apple.lower import LoweredProgram, Port


#: Core ML's validation of a package (coremltools, mlmodel/src/Validation/Validators.hpp)
_NO_INPUT_NEED = Need("a model without inputs", "iOS18")


def interface_needs(legal: LegalModel) -> list[Need]:
    """What states, or having no inputs at all, need."""
    graph = legal.model.graph
    has_inputs = any(value.name not in graph.initializers for value in graph.inputs)
    needs = [] if has_inputs else [_NO_INPUT_NEED]
    return [*needs, STATE_NEED] if legal.states else needs


@dataclass(frozen=True, slots=True)
class Interface:
    """The ends of a package."""

    lowered: LoweredProgram
    graph: ir.Graph
    picture: Picture | None = None
    classifier: Classifier | None = None

    @property
    def inputs(self) -> tuple[TensorSignature, ...]:
        """In the order of the model's inputs, states among them."""
        ports = [*self.lowered.inputs, *(state.source for state in self.lowered.states)]
        found = {port.value: self._input(port) for port in ports}
        return tuple(found[value] for value in self.graph.inputs if value in found)

    @property
    def outputs(self) -> tuple[TensorSignature, ...]:
        """In the order of the model's outputs, states among them."""
        ports = [*self.lowered.outputs, *(state.result for state in self.lowered.states)]
        found = {port.value: self._output(port) for port in ports}
        return tuple(found[value] for value in self.graph.outputs)

    def _input(self, port: Port) -> TensorSignature:
        signature, picture = _signature(port), self.picture
        if picture is None or str(port.value.name) != picture.name:
            return signature
        return replace(
            signature,
            dtype="uint8",
            hub_shape=picture.hub_shape,
            hub_dtype=picture.hub_dtype,
            perm=picture.perm,
            normalization=picture.normalization,
        )

    def _output(self, port: Port) -> TensorSignature:
        signature = _signature(port)
        if self.classifier is None or port != self.classifier.values:
            return signature
        return replace(signature, file_name=self.classifier.dictionary_name)

    def describe(self) -> dict[str, Any]:
        """For the manifest: what the signatures do not tell."""
        told: dict[str, Any] = {}
        if self.picture is not None:
            told["image"] = {"input": self.picture.name, "color_space": self.picture.color_space}
        if self.classifier is not None:
            told["classifier"] = self.classifier.describe()
        if self.lowered.flexible:
            told["shapes"] = {
                str(port.value.name): str(self.lowered.flexible[port.file_name])
                for port in self.lowered.inputs
                if port.file_name in self.lowered.flexible
            }
        if self.lowered.states:
            told["states"] = {
                str(state.source.value.name): str(state.result.value.name)
                for state in self.lowered.states
            }
        return told

    def write(self, description: Any) -> None:
        """Complete a message `ModelDescription` that holds tensors so far."""
        if self.picture is not None:
            feature = next(iter(description.input))
            image = feature.type.imageType
            *_, image.height, image.width = _picture_shape(self.lowered)
            image.colorSpace = image.ColorSpace.Value(self.picture.color_space)
        texts = dict(self._texts())
        for features in (description.input, description.output, description.state):
            for feature in features:
                feature.shortDescription = texts.get(feature.name, "")

    def _texts(self) -> Iterator[tuple[str, str]]:
        for port in (*self.lowered.inputs, *self.lowered.outputs):
            yield port.file_name, _text(port)
        for state in self.lowered.states:
            name, result = state.source.value.name, state.result.value.name
            yield state.source.file_name, f"Kept from run to run: '{name}', then '{result}'"
        if self.picture is not None:
            name = self.lowered.inputs[0].file_name
            yield name, f"{_text(self.lowered.inputs[0])} (picture, normalized by the package)"
        if self.classifier is not None:
            yield self.classifier.label_name, "Label of the class with the largest value"
            values = _text(self.classifier.values)
            yield self.classifier.dictionary_name, f"{values} (values of the classes, by label)"


def _picture_shape(lowered: LoweredProgram) -> tuple[int, ...]:
    return static_shape(lowered.inputs[0].value)


def _text(port: Port) -> str:
    """What the model says of the value itself, else its name there."""
    return port.value.doc_string or f"'{port.value.name}' of the model"


def _signature(port: Port) -> TensorSignature:
    """Names and element types of both sides; layouts stay those of the model."""
    value, hub_shape = port.value, port.model_shape
    return TensorSignature(
        name=str(value.name),
        file_name=port.file_name,
        shape=port.shape,
        dtype=port.dtype,
        layout="NCHW" if len(hub_shape) == 4 else "",
        hub_shape=hub_shape,
        hub_dtype=str(value.dtype.numpy()) if value.dtype is not None else port.dtype,
        perm=tuple(range(len(hub_shape))),
    )
