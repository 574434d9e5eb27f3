"""TFLite Metadata: what the file tells the Android tools about its tensors, and the labels.

The metadata is a FlatBuffer of its own (identifier `M001`, schema `metadata_schema.fbs` 1.0.0),
kept in the model as the buffer `TFLITE_METADATA`:
  model    name, description, version, author and license, as the user gives them
  tensor   the model's own name, what it holds in words, and
           of a picture: colour space, size, normalization `(pixel - mean) / std`, and the least
             and largest value (of uint8 the integers, else real values, as the Task Library counts)
           of a quantized output: the least and largest value
           of the first output: the labels, if any
Labels are a text file inside a ZIP archive that follows the model's bytes; its offsets count from
the beginning of the file, so that both readers find their part. Field numbers below are those of
the schema. The bytes are deterministic: the ZIP carries a fixed date.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt

from edgewise.targets.base import EmitOptions, TensorSignature

METADATA_NAME = "TFLITE_METADATA"
LABELS_FILE = "labels.txt"

Floats = npt.NDArray[np.float32]

_IDENTIFIER = b"M001"
_MIN_PARSER_VERSION = "1.0.0"
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that the format can hold
_TENSOR_AXIS_LABELS = 2
_NORMALIZATION_OPTIONS = 1
_FEATURE_PROPERTIES, _IMAGE_PROPERTIES = 1, 2
_UNKNOWN_COLOR = 0  # the schema has no BGR
_COLOR_SPACES = {"rgb": 1, "gray": 2}


def build_metadata(
    options: EmitOptions,
    inputs: Sequence[TensorSignature],
    outputs: Sequence[TensorSignature],
) -> bytes:
    """The `M001` FlatBuffer.

    `options.preprocessing` is read for `mean` and `std` (numbers or one per channel) and `color`;
    they describe the first input.
    """
    writer = _Writer()
    preprocessing = options.preprocessing or {}
    input_tables = [
        _input(writer, tensor, preprocessing if position == 0 else {})
        for position, tensor in enumerate(inputs)
    ]
    output_tables = [
        _output(writer, tensor, bool(options.labels) and position == 0)
        for position, tensor in enumerate(outputs)
    ]
    subgraph = writer.table({2: writer.vector(input_tables), 3: writer.vector(output_tables)})
    about = options.about
    texts = {0: options.name, 1: about.description, 2: about.version, 4: about.author}
    texts |= {5: about.license, 7: _MIN_PARSER_VERSION}
    fields = {field: writer.string(text) for field, text in texts.items() if text}
    return writer.finish(writer.table({**fields, 3: writer.vector([subgraph])}))


def append_labels(model: bytes, labels: Sequence[str]) -> bytes:
    """The model followed by a ZIP archive that holds `labels.txt`, one label per line."""
    stream = io.BytesIO()
    stream.write(model)
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(LABELS_FILE, _ZIP_DATE), "\n".join(labels) + "\n")
    return stream.getvalue()


def _input(writer: _Writer, tensor: TensorSignature, preprocessing: Mapping[str, Any]) -> int:
    fields = {0: writer.string(tensor.name)}
    mean, std = preprocessing.get("mean"), preprocessing.get("std")
    if mean is None or std is None or len(tensor.shape) != 4:
        fields[1] = writer.string(_in_words(tensor))
        fields[3] = _features(writer)
        return writer.table(fields)
    color = str(preprocessing.get("color", "rgb")).lower()
    means, stds = _floats(mean), _floats(std)
    fields[1] = writer.string(
        f"picture, {color.upper()}, {_normalized(means, stds)}; {_in_words(tensor)}"
    )
    fields[3] = _picture(writer, tensor, color)
    normalization = writer.table({0: writer.floats(means), 1: writer.floats(stds)})
    unit = writer.table({1: normalization}, bytes_={0: _NORMALIZATION_OPTIONS})
    fields[4] = writer.vector([unit])
    ends = _floats([0]), _floats([255])
    if tensor.dtype != "uint8":
        ends = (ends[0] - means) / stds, (ends[1] - means) / stds
    fields[5] = _stats(writer, *ends)
    return writer.table(fields)


def _output(writer: _Writer, tensor: TensorSignature, labelled: bool) -> int:
    fields = {0: writer.string(tensor.name), 1: writer.string(_in_words(tensor))}
    fields[3] = _features(writer)
    if tensor.scale is not None:
        limits = np.iinfo(np.dtype(tensor.dtype))
        ends = _floats([limits.min]), _floats([limits.max])
        if tensor.dtype != "uint8":
            zero_point, scale = tensor.zero_point or 0, np.float32(tensor.scale)
            ends = (ends[0] - zero_point) * scale, (ends[1] - zero_point) * scale
        fields[5] = _stats(writer, *ends)
    if labelled:
        file = writer.table(
            {0: writer.string(LABELS_FILE), 1: writer.string("class names, one per line")},
            bytes_={2: _TENSOR_AXIS_LABELS},
        )
        fields[6] = writer.vector([file])
    return writer.table(fields)


def _in_words(tensor: TensorSignature) -> str:
    """Such as `int8, NHWC 1x224x224x3, q stands for 0.0186 * (q +4)`."""
    sizes = "x".join(str(dim) for dim in tensor.shape) or "scalar"
    text = (
        f"{tensor.dtype}, {tensor.layout} {sizes}" if tensor.layout else f"{tensor.dtype}, {sizes}"
    )
    if tensor.scale is None:
        return text
    return f"{text}, q stands for {tensor.scale:.6g} * (q {-(tensor.zero_point or 0):+d})"


def _normalized(mean: Floats, std: Floats) -> str:
    if not mean.any() and (std == 1).all():
        return "values 0 to 255"
    shown = [", ".join(f"{number:g}" for number in numbers) for numbers in (mean, std)]
    return f"(value - [{shown[0]}]) / [{shown[1]}] of values 0 to 255"


def _features(writer: _Writer) -> int:
    return writer.table({1: writer.table({})}, bytes_={0: _FEATURE_PROPERTIES})


def _picture(writer: _Writer, tensor: TensorSignature, color: str) -> int:
    height, width = tensor.shape[2:4] if tensor.layout == "NCHW" else tensor.shape[1:3]
    offsets = {}
    if isinstance(height, int) and isinstance(width, int):
        offsets[1] = writer.table({}, words={0: width, 1: height})
    image = writer.table(offsets, bytes_={0: _COLOR_SPACES.get(color, _UNKNOWN_COLOR)})
    return writer.table({1: image}, bytes_={0: _IMAGE_PROPERTIES})


def _stats(writer: _Writer, least: Floats, largest: Floats) -> int:
    return writer.table({0: writer.floats(largest), 1: writer.floats(least)})


def _floats(numbers: Any) -> Floats:
    return np.atleast_1d(np.asarray(numbers, np.float32))


class _Writer:
    """Tables of a FlatBuffer by field number; children are written before their parents."""

    def __init__(self) -> None:
        self._builder = flatbuffers.Builder(256)

    def table(
        self,
        offsets: Mapping[int, int],
        *,
        bytes_: Mapping[int, int] | None = None,
        words: Mapping[int, int] | None = None,
    ) -> int:
        """A table: offsets of children, one-byte numbers, and uint32 numbers."""
        bytes_, words = bytes_ or {}, words or {}
        self._builder.StartObject(max((-1, *offsets, *bytes_, *words)) + 1)
        for field, offset in offsets.items():
            self._builder.PrependUOffsetTRelativeSlot(field, offset, 0)
        for field, number in words.items():
            self._builder.PrependUint32Slot(field, number, 0)
        for field, number in bytes_.items():
            self._builder.PrependUint8Slot(field, number, 0)
        return int(self._builder.EndObject())

    def string(self, text: str) -> int:
        return int(self._builder.CreateString(text))

    def floats(self, numbers: Floats) -> int:
        return int(self._builder.CreateNumpyVector(np.asarray(numbers, np.float32)))

    def vector(self, offsets: Sequence[int]) -> int:
        self._builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self._builder.PrependUOffsetTRelative(offset)
        return int(self._builder.EndVector())

    def finish(self, root: int) -> bytes:
        self._builder.Finish(root, _IDENTIFIER)
        return bytes(self._builder.Output())
