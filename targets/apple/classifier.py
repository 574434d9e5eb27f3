"""The package as a Core ML classifier: a label and a dictionary of probabilities come out.

Of the model's outputs one is the values of the classes, as the model computes them: Core ML calls
them probabilities, but neither demands nor adds a softmax, and neither does Edgewise. In its place
the package has `classLabel`, the label with the largest value, and `classLabel_probs`, all values
by label (coremltools guide, "Classifiers"; MIL `classify`). Further outputs stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx_ir as ir

from edgewise.errors import ModelError, UsageError
from edgewise.findings import Finding

if TYPE_CHECKING:
    from edgewise.targets.apple.lower import LoweredProgram, Port

_WHERE = "[targets.apple] classifier"
_LABEL = "classLabel"
#: coremltools names the dictionary so
_DICTIONARY_SUFFIX = "_probs"
#: what puts an output between 0 and 1
_NORMALIZERS = ("Softmax", "Sigmoid", "HardSigmoid")
#: what hands values on, between the normalizer and the output
_CARRIERS = (
    "QuantizeLinear", "DequantizeLinear", "Reshape", "Flatten", "Squeeze", "Identity", "Cast",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Classifier:
    """`values` is the output that the dictionary replaces; the names are those of the package."""

    values: Port
    labels: tuple[str, ...]
    label_name: str

    @property
    def dictionary_name(self) -> str:
        return f"{self.label_name}{_DICTIONARY_SUFFIX}"

    def describe(self) -> dict[str, str]:
        """For the manifest."""
        return {"label": self.label_name, "probabilities": self.dictionary_name}


def classifier_of(lowered: LoweredProgram, labels: Sequence[str], wanted: str | None) -> Classifier:
    """The classifier that a program makes with these labels.

    Args:
        wanted: name of the model's output with the values; None where there is no choice.

    Raises:
        UsageError: no labels, one that occurs twice, or an output that the model has not.
        ModelError: no output, or more than one, has a value for each label.
    """
    if not labels:
        raise UsageError(
            "there are no labels",
            where=_WHERE,
            remedy="Give --labels FILE or [data] labels, or data with a folder per class.",
        )
    twice = sorted({label for label in labels if list(labels).count(label) > 1})
    if twice:
        raise UsageError(
            f"label '{twice[0]}' occurs twice",
            where=_WHERE,
            why="Core ML keeps the values in a dictionary",
            remedy="Make the labels differ.",
        )
    return Classifier(_values(lowered, len(labels), wanted), tuple(labels), _free_name(lowered))


def _values(lowered: LoweredProgram, count: int, wanted: str | None) -> Port:
    ports = {str(port.value.name): port for port in lowered.outputs}
    if wanted is not None and wanted not in ports:
        raise UsageError(
            f"the model has no output '{wanted}'",
            where=_WHERE,
            remedy=f"Its outputs are {', '.join(ports)}.",
        )
    chosen = ports if wanted is None else {wanted: ports[wanted]}
    fitting = [port for port in chosen.values() if _fits(port, count)]
    if len(fitting) == 1:
        return fitting[0]
    shapes = ", ".join(f"'{name}' {list(port.model_shape)}" for name, port in chosen.items())
    raise ModelError(
        f"{'no output has' if not fitting else 'several outputs have'} a value for each of"
        f" {count} labels",
        where=_WHERE,
        why=f"the shapes are {shapes}",
        remedy="Give as many labels as the output has classes, as float32 in [1, classes]."
        if not fitting
        else "Name the output: classifier = 'name'.",
    )


def _fits(port: Port, count: int) -> bool:
    return port.dtype == "float32" and port.shape in ((count,), (1, count))


def _free_name(lowered: LoweredProgram) -> str:
    """`classLabel`, or with a number where the program has that name already."""
    function = lowered.program.functions["main"]
    taken = {var.name for operation in function.operations for var in operation.outputs}
    taken |= set(function.inputs)
    name, count = _LABEL, 0
    while {name, f"{name}{_DICTIONARY_SUFFIX}"} & taken:
        count += 1
        name = f"{_LABEL}_{count}"
    return name


def score_remarks(classifier: Classifier) -> list[Finding]:
    """A remark where the values of the classes are not seen to lie between 0 and 1."""
    value: ir.Value | None = classifier.values.value
    producer = value.producer() if value is not None else None
    while producer is not None and producer.op_type in _CARRIERS:
        source = producer.inputs[0]
        producer = source.producer() if source is not None else None
    if producer is not None and producer.op_type in _NORMALIZERS:
        return []
    return [
        Finding(
            rule="apple/classifier-scores",
            severity="info",
            message=f"the classes have the values of output '{classifier.values.value.name}', which"
            " no softmax makes probabilities",
            remedy="End the model with a Softmax where applications shall see probabilities.",
        )
    ]
