"""The whole way from a float model to a QDQ model."""

from __future__ import annotations

import dataclasses
import logging
import os
import subprocess
import sys

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from edgewise.calibration import (
    METHODS,
    NumberFormat,
    Recipe,
    Scheme,
    collect_statistics,
    quantize,
    quantize_with_findings,
)
from edgewise.errors import ModelError, UnsupportedPrecision, UsageError
from edgewise.graph import OrtSession, load, save, to_bytes
from edgewise.graph.quantized import DEQUANTIZE, QUANTIZE


def operators(model):
    return [node.op_type for node in model.graph]


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_scheme_gives_a_valid_model_close_to_float(trial, model, scheme, method):
    made = trial(model)
    quantized = made.quantize(scheme, method=method)
    onnx.checker.check_model(ir.to_proto(quantized), full_check=True)
    assert made.sqnr(quantized) > 20.0
    assert QUANTIZE in operators(quantized)


def test_the_interface_survives(trial, model, scheme):
    quantized = trial(model).quantize(scheme)
    for mine, theirs in ((quantized.graph.inputs, model.graph.inputs),
                         (quantized.graph.outputs, model.graph.outputs)):  # fmt: skip
        assert [(v.name, v.dtype, v.shape) for v in mine] == [
            (v.name, v.dtype, v.shape) for v in theirs
        ]
    assert quantized.opset_imports == model.opset_imports
    assert quantized.metadata_props == model.metadata_props
    assert {node.domain for node in quantized.graph} == {""}


def test_names_survive_but_for_folded_activations(trial, model, scheme):
    quantized = trial(model).quantize(scheme)
    left = {node.name for node in quantized.graph}
    gone = {node.op_type for node in model.graph if node.name not in left}
    assert gone <= ({"Relu", "Clip"} if scheme.fold_activations else set())


def test_every_value_has_type_and_shape(trial, model, scheme):
    quantized = trial(model).quantize(scheme)
    for node in quantized.graph:
        for value in node.outputs:
            assert value.dtype is not None and value.shape is not None, value.name


def test_twice_gives_the_same_bytes(trial, model, scheme):
    made = trial(model)
    assert to_bytes(made.quantize(scheme)) == to_bytes(made.quantize(scheme))


def test_the_float_model_is_not_changed(trial, model, scheme):
    made = trial(model)
    before = to_bytes(model)
    made.quantize(scheme)
    assert to_bytes(model) == before


def test_a_saved_hub_model_keeps_its_statistics(trial, model, android, tmp_path):
    made = trial(model)
    save(model, tmp_path / "hub.onnx")
    again = quantize(load(tmp_path / "hub.onnx"), made.statistics, android)
    assert to_bytes(again) == to_bytes(made.quantize(android))


def test_nothing_reaches_the_console_or_the_logging_setup(trial, models, android, capfd):
    root = logging.getLogger()
    handlers, disabled = list(root.handlers), root.manager.disable
    trial(models["decoder"]()).quantize(android)
    assert capfd.readouterr() == ("", "")
    assert root.handlers == handlers and root.manager.disable == disabled


def test_a_symbolic_batch_stays_usable(trial, models, scheme, source_of):
    made = trial(models["mobile"]())
    session = OrtSession(made.quantize(scheme))
    feeds = source_of(made.model, 1).samples[0]
    double = {name: np.concatenate([array, array]) for name, array in feeds.items()}
    assert session.run(double)["scores"].shape == (2, 10)


def test_excluded_nodes_stay_float_and_are_told(trial, models, scheme):
    made = trial(models["mobile"]())
    result = quantize_with_findings(
        made.model, made.statistics, scheme, Recipe(float_nodes=frozenset({"n_merged"}))
    )
    node = next(node for node in result.model.graph if node.name == "n_merged")
    readers = [use.node.op_type for use in node.outputs[0].uses()]
    assert readers == [QUANTIZE]  # its reader is quantized; itself it computes in float
    assert [finding.node for finding in result.findings] == ["n_merged"]
    assert "excluded" in result.findings[0].message


def test_operators_outside_the_scheme_stay_float_between_dequantize_and_quantize(
    net, trial, scheme
):
    n = net()
    x = n.input("x", 1, 4, 8, 8)
    erf = n.op("Erf", n.conv(x, 4, 4), name="erf")
    made = trial(n.model(n.conv(erf, 4, 4, name="y")))
    result = quantize_with_findings(made.model, made.statistics, scheme)
    node = next(node for node in result.model.graph if node.op_type == "Erf")
    assert node.inputs[0].producer().op_type == DEQUANTIZE
    assert [use.node.op_type for use in node.outputs[0].uses()] == [QUANTIZE]
    assert [(f.rule, f.node, f.severity) for f in result.findings] == [
        ("calibration/float-node", "n_erf", "warning")
    ]


def test_wrong_arguments_are_refused(trial, models, schemes, android):
    made = trial(models["mobile"]())
    with pytest.raises(UsageError, match="no node 'nowhere'"):
        made.quantize(android, exclude=["nowhere"])
    with pytest.raises(UsageError, match=r"unknown calibration method 'max'.*minmax, movin"):
        made.quantize(android, method="max")
    with pytest.raises(UsageError, match="percentile must be"):
        made.quantize(android, method="percentile", percentile=0)
    with pytest.raises(ModelError, match="quantized already"):
        quantize(made.quantize(android), made.statistics, android)


def test_schemes_that_calibration_cannot_reach_are_refused(trial, models, android):
    made = trial(models["mobile"]())
    with pytest.raises(UnsupportedPrecision, match="no integer activations"):
        made.quantize(Scheme("android", "fp32"))
    four = dataclasses.replace(android, weight=NumberFormat("int4", True))
    blocks = dataclasses.replace(android, weight=NumberFormat("int8", True, "per_block"))
    for scheme in (four, blocks):
        with pytest.raises(UnsupportedPrecision, match="cannot be reached"):
            made.quantize(scheme)


@pytest.mark.parametrize(
    ("activation", "weight"),
    [("uint8", "int8"), ("uint8", "uint8"), ("int16", "int8"), ("uint16", "int8")],
)
def test_other_integer_types(trial, models, apple, activation, weight):
    made = trial(models["several_readers"]())
    scheme = dataclasses.replace(
        apple,
        activation=NumberFormat(activation, symmetric=False),
        weight=dataclasses.replace(apple.weight, dtype=weight),
    )
    quantized = made.quantize(scheme)
    onnx.checker.check_model(ir.to_proto(quantized), full_check=True)
    assert made.sqnr(quantized) > 25


def test_the_bytes_do_not_depend_on_the_order_of_hashing(trial, models, tmp_path):
    made = trial(models["branches"]())
    save(made.model, tmp_path / "hub.onnx")
    made.statistics.save(tmp_path / "statistics.npz")
    code = """
import sys, hashlib
from edgewise.calibration import *
from edgewise.graph import load, to_bytes
number = NumberFormat("int8", False)
weight = NumberFormat("int8", True, "per_channel", True)
shared = frozenset({"Concat", "Pad", "MaxPool", "Resize"})
fixed = {"Sigmoid": QuantParams(1 / 256, -128), "Tanh": QuantParams(1 / 128, 0)}
scheme = Scheme("t", "w8a8", number, weight, shared | {"Conv", "Sigmoid", "Tanh"}, shared, fixed)
model = quantize(load(sys.argv[1]), Statistics.load(sys.argv[2]), scheme)
print(hashlib.sha256(to_bytes(model)).hexdigest())
"""
    command = [sys.executable, "-c", code, tmp_path / "hub.onnx", tmp_path / "statistics.npz"]
    hashes = {
        subprocess.run(
            command, check=True, capture_output=True, env={**os.environ, "PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2")
    }
    assert len(hashes) == 1


def test_statistics_of_another_model_are_refused(trial, models, android):
    one, two = trial(models["mobile"]()), trial(models["decoder"]())
    with pytest.raises(ModelError, match="another model"):
        quantize(one.model, two.statistics, android)


def test_statistics_that_lack_a_tensor_are_refused(models, source_of, android):
    model = models["mobile"]()
    statistics = collect_statistics(model, source_of(model), tensors=["image"])
    with pytest.raises(ModelError, match="statistics lack tensor"):
        quantize(model, statistics, android)


def test_a_model_without_quantizable_operators_is_refused(net, trial, android):
    n = net()
    made = trial(n.model(n.op("Erf", n.input("x", 1, 4), name="y")))
    with pytest.raises(ModelError, match="nothing in the model can be quantized"):
        made.quantize(android)
