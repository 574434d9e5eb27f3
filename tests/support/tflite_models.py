"""Small TFLite files: converted by TensorFlow, or edited table by table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgewise.exporters.quiet import quiet
from edgewise.exporters.tflite.file import operator_name

Shape = Sequence[int | None]


def converted(
    function: Callable[..., Any],
    shapes: Mapping[str, Shape],
    *,
    int8: bool = False,
    weights: Literal["float32", "float16", "int8"] = "float32",
) -> bytes:
    """A function of TensorFlow on float inputs of these shapes, as a file; its signature is
    `serving_default`. With `int8`, quantized all through by random data; with `weights`, those
    alone, as the converter's float16 and dynamic-range quantization do."""
    with quiet():
        import tensorflow as tf

        specs = [tf.TensorSpec(shape, tf.float32, name=name) for name, shape in shapes.items()]
        module = tf.Module()
        module.f = tf.function(function, input_signature=specs)
        converter = tf.lite.TFLiteConverter.from_concrete_functions(
            [module.f.get_concrete_function()], module
        )
        if weights != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if weights == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if int8:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: _random(list(shapes.values()))
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = converter.inference_output_type = tf.int8
        return bytes(converter.convert())


def _random(shapes: Sequence[Shape]) -> Iterator[list[Any]]:
    rng = np.random.default_rng(7)
    for _ in range(8):
        yield [rng.standard_normal([n or 1 for n in s]).astype(np.float32) for s in shapes]


def edited(content: bytes, edit: Callable[[Any], None]) -> bytes:
    """The file after `edit` has changed its tables (`ModelT`)."""
    model = schema.ModelT.InitFromPackedBuf(content)
    edit(model)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def operator(model: Any, name: str) -> Any:
    """The only operator of that name in the first graph."""
    (found,) = (one for one in model.subgraphs[0].operators if operator_name(model, one) == name)
    return found
