"""TFLite Metadata: what the file tells the Android tools about its tensors, and the labels.

The metadata is a FlatBuffer of its own (identifier `M001`, schema `metadata_schema.fbs` 1.0.0),
kept in the model as the buffer `TFLITE_METADATA`. Labels are a text file inside a ZIP archive that
follows the model's bytes; its offsets count from the beginning of the file, so that both readers
find their part. Field numbers below are those of the schema. The bytes are deterministic: the ZIP
carries a fixed date.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import flatbuffers
import numpy as np

from edgewise.targets.base import EmitOptions, TensorSignature

METADATA_NAME = "TFLITE_METADATA"
LABELS_FILE = "labels.txt"

_IDENTIFIER = b"M001"
_MIN_PARSER_VERSION = "1.0.0"
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that the format can hold
_TENSOR_AXIS_LABELS = 2
_NORMALIZATION_OPTIONS = 1
_FEATURE_PROPERTIES, _IMAGE_PROPERTIES = 1, 2
_COLOR_SPACES = {"rgb": 1, "gray": 2}


def build_metadata(
    options: EmitOptions,
    inputs: Sequence[TensorSignature],
    outputs: Sequence[TensorSignature],
) -> bytes:
    """The `M001` FlatBuffer: names, normalization and colour of inputs, labels of the output.

    `options.preprocessing` is read for `mean` and `std` (numbers or one per channel) and `color`
    (`rgb` or `gray`); they describe the first input.
    """
    writer = _Writer()
    preprocessing = options.preprocessing or {}
    input_tables = [
        _input(writer, tensor.name, preprocessing if position == 0 else {})
        for position, tensor in enumerate(inputs)
    ]
    output_tables = [
        _output(writer, tensor.name, bool(options.labels) and position == 0)
        for position, tensor in enumerate(outputs)
    ]
    subgraph = writer.table(9, {2: writer.vector(input_tables), 3: writer.vector(output_tables)})
    root = writer.table(
        8,
        {
            0: writer.string(options.name),
            3: writer.vector([subgraph]),
            7: writer.string(_MIN_PARSER_VERSION),
        },
    )
    return writer.finish(root)


def append_labels(model: bytes, labels: Sequence[str]) -> bytes:
    """The model followed by a ZIP archive that holds `labels.txt`, one label per line."""
    stream = io.BytesIO()
    stream.write(model)
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(LABELS_FILE, _ZIP_DATE), "\n".join(labels) + "\n")
    return stream.getvalue()


def _input(writer: _Writer, name: str, preprocessing: Mapping[str, Any]) -> int:
    fields = {0: writer.string(name)}
    mean, std = preprocessing.get("mean"), preprocessing.get("std")
    if mean is not None and std is not None:
        normalization = writer.table(2, {0: writer.floats(mean), 1: writer.floats(std)})
        unit = writer.table(2, {1: normalization}, {0: _NORMALIZATION_OPTIONS})
        fields[4] = writer.vector([unit])
    color = _COLOR_SPACES.get(str(preprocessing.get("color", "")).lower())
    if color is not None:
        image = writer.table(2, {}, {0: color})
        fields[3] = writer.table(3, {1: image}, {0: _IMAGE_PROPERTIES})
    return writer.table(7, fields)


def _output(writer: _Writer, name: str, labelled: bool) -> int:
    fields = {0: writer.string(name)}
    feature = writer.table(1, {})
    fields[3] = writer.table(3, {1: feature}, {0: _FEATURE_PROPERTIES})
    if labelled:
        file = writer.table(5, {0: writer.string(LABELS_FILE)}, {2: _TENSOR_AXIS_LABELS})
        fields[6] = writer.vector([file])
    return writer.table(7, fields)


class _Writer:
    """Tables of a FlatBuffer by field number; children are written before their parents."""

    def __init__(self) -> None:
        self._builder = flatbuffers.Builder(256)

    def table(
        self, size: int, offsets: Mapping[int, int], numbers: Mapping[int, int] | None = None
    ) -> int:
        """A table of `size` fields: offsets of children, and one-byte numbers."""
        self._builder.StartObject(size)
        for field, offset in offsets.items():
            self._builder.PrependUOffsetTRelativeSlot(field, offset, 0)
        for field, number in (numbers or {}).items():
            self._builder.PrependUint8Slot(field, number, 0)
        return int(self._builder.EndObject())

    def string(self, text: str) -> int:
        return int(self._builder.CreateString(text))

    def floats(self, numbers: Any) -> int:
        return int(self._builder.CreateNumpyVector(np.atleast_1d(np.asarray(numbers, np.float32))))

    def vector(self, offsets: Sequence[int]) -> int:
        self._builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self._builder.PrependUOffsetTRelative(offset)
        return int(self._builder.EndVector())

    def finish(self, root: int) -> bytes:
        self._builder.Finish(root, _IDENTIFIER)
        return bytes(self._builder.Output())
