"""Models whose results say nothing: those that draw random numbers, and weights with NaN."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from edgewise.data.source import InputSpec
from edgewise.exporters import export
from edgewise.exporters.opened import OpenedModel, SourceOptions
from edgewise.exporters.parity import measure_parity
from edgewise.exporters.source import open_source_model
from edgewise.graph import prepare

DRAWING = {
    "RandomNormalLike": "r = RandomNormalLike <seed = 1.0> (x) y = Add(x, r)",
    "RandomUniform": "r = RandomUniform <shape = [1, 4]> () y = Add(x, r)",
    "Bernoulli": "s = Sigmoid(x) y = Bernoulli(s)",
    "Dropout": "y = Dropout(x, ratio, training)",
    "Multinomial": "m = Multinomial <sample_size = 2> (x) c = Cast <to = 1> (m) y = Neg(c)",
}


def model_of(body: str, **constants: Any) -> ir.Model:
    text = f"""<ir_version: 10, opset_import: ["": 21]>
    g (float[1, 4] x) => (float[a, b] y) {{ {body} }}"""
    model = ir.from_onnx_text(text)
    used = [value for node in model.graph for value in node.inputs if value is not None]
    for name, array in constants.items():
        for value in used:
            if value.name == name:
                value.const_value = ir.tensor(array, name=name)
                model.graph.register_initializer(value)
                break
    return model


@pytest.mark.parametrize("operator", DRAWING)
def test_random_numbers_are_not_compared(operator):
    constants = {"ratio": np.float32(0.5), "training": np.bool_(True)}
    proto = ir.to_proto(model_of(DRAWING[operator], **constants))
    result = export(proto)
    assert result.parity.max_abs_error is None
    assert f"({operator}) draws random numbers" in str(result.parity.reason)
    (finding,) = (f for f in result.findings if f.severity == "warning")
    assert finding.rule == "export/parity" and not finding.remedy


def test_dropout_that_is_off_is_compared():
    constants = {"ratio": np.float32(0.5), "training": np.bool_(False)}
    result = export(ir.to_proto(model_of(DRAWING["Dropout"], **constants)))
    assert result.parity.max_abs_error == 0.0 and result.findings == ()


@pytest.mark.parametrize(
    ("numbers", "told"),
    [
        ([1, np.nan, np.nan, 2], "'w' holds 2 NaN of 4 values"),
        ([1, np.inf, 3, 2], "'w' holds 1 infinite of 4 values"),
        ([0, -np.inf, 0, -np.inf], ""),
        ([1, 2, 3, 4], ""),
    ],
)
def test_weights_that_are_not_finite_are_told(numbers, told):
    result = export(ir.to_proto(model_of("y = Mul(x, w)", w=np.float32(numbers))))
    warnings = [f.message for f in result.findings if f.rule == "export/not-finite"]
    assert warnings == ([f"weights are not finite: {told}"] if told else [])


@pytest.mark.parametrize("given", [np.nan, 0.0])
def test_nan_is_not_held_against_the_exporter(given):
    """A framework's ReLU may pass NaN on, or give 0."""
    model = model_of("m = Mul(x, w) y = Relu(m)", w=np.float32([1, np.nan, 1, 1]))
    opened = open_source_model(ir.to_proto(model), SourceOptions())
    keeps = replace(opened, open_runner=lambda: lambda feed: [np.full((1, 4), given, np.float32)])
    assert isinstance(keeps, OpenedModel)
    spec = InputSpec("x", (1, 4), np.dtype(np.float32))
    result = measure_parity(keeps, prepare(opened.model), [spec], [])
    assert "since weight 'w' is not finite" in str(result.reason)
