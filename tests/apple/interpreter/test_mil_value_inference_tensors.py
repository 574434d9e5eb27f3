"""Activations, movement, indexing, products and creation against coremltools' value inference.

Together with the elementwise operations and reductions next door: no operation that coremltools can
fold is left out. Of its answers three are not what its own documentation says, and are not asked
for: it joins as if `interleave` were false, scatters as if every `mode` were `update`, and fails on
a sum that is `exclusive`.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgewise.targets.apple._coremltools import Builder as mb
from edgewise.targets.apple._coremltools import Function, ct, quiet
from edgewise.targets.apple.interpreter.kernels import KERNELS

with quiet():
    from coremltools.converters.mil.mil import Operation
    from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry

Array = npt.NDArray[Any]
_RNG = np.random.default_rng(0)
_X = _RNG.uniform(-2, 2, (2, 3, 4, 5)).astype(np.float32)
_M = _RNG.uniform(-2, 2, (3, 4)).astype(np.float32)
_WHOLE = np.arange(24, dtype=np.int32).reshape(2, 3, 4)
_CHANNELS = np.array([0.5, -0.3, 2], np.float32)
_HEADS = _RNG.normal(size=(3, 1, 2, 4, 8)).astype(np.float32)
_ANY = ("iOS15", "iOS18")
_OLD = ("iOS15",)
_FROM_17 = ("iOS17", "iOS18")


def _ints(*numbers: int) -> Array:
    return np.array(numbers, np.int32)


def _float(number: float) -> Any:
    return np.float32(number)


#: operation, systems, arguments
CASES: list[tuple[str, tuple[str, ...], dict[str, Any]]] = [
    ("clamped_relu", _ANY, {"x": _X, "alpha": _float(0.2), "beta": _float(1)}),
    ("elu", _ANY, {"x": _X, "alpha": _float(0.7)}),
    ("gelu", _ANY, {"x": _X, "mode": "EXACT"}),
    ("gelu", _ANY, {"x": _X, "mode": "TANH_APPROXIMATION"}),
    ("gelu", _ANY, {"x": _X, "mode": "SIGMOID_APPROXIMATION"}),
    ("leaky_relu", _ANY, {"x": _X, "alpha": _float(0.3)}),
    ("linear_activation", _ANY, {"x": _X, "alpha": _float(0.3), "beta": _float(-1)}),
    ("prelu", _ANY, {"x": _X, "alpha": _CHANNELS}),
    ("relu", _ANY, {"x": _X}),
    ("relu6", _ANY, {"x": 5 * _X}),
    ("scaled_tanh", _ANY, {"x": _X, "alpha": _float(0.3), "beta": _float(2)}),
    ("sigmoid", _ANY, {"x": _X}),
    ("sigmoid_hard", _ANY, {"x": _X, "alpha": _float(0.3), "beta": _float(0.4)}),
    ("softmax", _ANY, {"x": _X, "axis": 1}),
    ("softplus", _ANY, {"x": _X}),
    ("softplus_parametric", _ANY, {"x": _X, "alpha": _CHANNELS, "beta": _CHANNELS}),
    ("softsign", _ANY, {"x": _X}),
    ("thresholded_relu", _ANY, {"x": _X, "alpha": _float(0.4)}),
    ("argsort", _ANY, {"x": _X, "axis": 2, "ascending": False}),
    ("topk", _ANY, {"x": _X, "k": 2, "axis": 2, "ascending": True}),
    ("cumsum", _ANY, {"x": _X, "axis": 2, "reverse": True}),
    ("band_part", _ANY, {"x": _M, "lower": 0, "upper": 1}),
    ("band_part", _ANY, {"x": _M, "lower": -1, "upper": 0}),
    ("concat", _ANY, {"values": [_X, _X], "axis": -2}),
    ("einsum", _ANY, {"values": [_X, np.swapaxes(_X, 1, 3)], "equation": "nchw,nwhu->nchu"}),
    ("expand_dims", _ANY, {"x": _M, "axes": _ints(0, -1)}),
    ("squeeze", _ANY, {"x": _M[:, None], "axes": _ints(1)}),
    ("fill", _ANY, {"shape": _ints(2, 3), "value": _float(4)}),
    ("fill_like", ("iOS16", "iOS18"), {"ref_tensor": _WHOLE, "value": _float(4)}),
    ("flatten2d", _ANY, {"x": _X, "axis": 2}),
    ("flatten2d", _ANY, {"x": _X, "axis": -1}),
    ("gather", _ANY, {"x": _X, "indices": _ints(2, 0, 1), "axis": 1}),
    ("gather_along_axis", _ANY, {"x": _M, "indices": _ints(2, 0, 1, 1)[None], "axis": 0}),
    ("identity", _ANY, {"x": _X}),
    ("l2_norm", _ANY, {"x": _X, "epsilon": _float(0.1)}),
    ("layer_norm", _ANY, {"x": _M, "axes": _ints(-1), "gamma": _M[0], "beta": _M[1]}),
    ("linear", _ANY, {"x": _M, "weight": np.vstack([_M, _M]), "bias": np.arange(6, dtype="f4")}),
    ("matmul", _ANY, {"x": _X, "y": _X, "transpose_y": True}),
    ("matmul", _ANY, {"x": _WHOLE, "y": _WHOLE, "transpose_x": True}),
    ("non_zero", _ANY, {"x": np.rint(_M)}),
    ("pad", _ANY, {"x": _X, "pad": _ints(1, 2, 0, 3), "constant_val": _float(7)}),
    ("pad", _ANY, {"x": _X, "pad": _ints(1, 2, 3, 1), "mode": "reflect"}),
    ("pad", _ANY, {"x": _X, "pad": _ints(1, 2, 0, 3), "mode": "replicate"}),
    ("quantize", _FROM_17, {"input": _X, "scale": _float(0.01), "output_dtype": "int8"}),
    (
        "quantize",
        _FROM_17,
        {
            "input": _X,
            "scale": np.array([0.01, 0.02, 0.03], np.float32),
            "zero_point": np.array([3, 0, 250], np.uint8),
            "axis": 1,
            "output_dtype": "uint8",
        },
    ),
    ("range_1d", _ANY, {"start": 3, "end": 12, "step": 2}),
    ("range_1d", _ANY, {"start": _float(3), "end": _float(-1), "step": _float(-0.7)}),
    ("reduce_argmax", _ANY, {"x": _X, "axis": 2, "keep_dims": True}),
    ("reduce_argmin", _ANY, {"x": _X, "axis": -1}),
    ("reshape", _ANY, {"x": _X, "shape": _ints(6, -1)}),
    ("reshape", _ANY, {"x": _X, "shape": _ints(0, 0, 5, 4)}),
    ("reverse", _ANY, {"x": _X, "axes": _ints(1, -1)}),
    ("reverse", _ANY, {"x": _X}),
    (
        "scaled_dot_product_attention",
        ("iOS18",),
        {"query": _HEADS[0], "key": _HEADS[1], "value": _HEADS[2], "attn_mask": _X[:1, :2, :, :4]},
    ),
    (
        "scatter_along_axis",
        _ANY,
        {
            "data": _M,
            "indices": _ints(2, 0, 1, 1)[None],
            "updates": _M[:1],
            "axis": 0,
            "mode": "update",
        },
    ),
    ("select", _ANY, {"cond": _M > 0, "a": _M, "b": -_M}),
    ("shape", _ANY, {"x": _X}),
    ("slice_by_index", _ANY, {"x": _X, "begin": _ints(0, 1, -3, 4), "end": _ints(2, 3, -1, 0),
                              "stride": _ints(1, 2, 1, -2)}),
    ("slice_by_index", _ANY, {"x": _X, "begin": _ints(0, 1, 0, 4), "end": _ints(0, 0, 3, 0),
                              "end_mask": np.array([True, True, False, False]),
                              "squeeze_mask": np.array([False, False, False, True])}),
    ("slice_by_size", _ANY, {"x": _X, "begin": _ints(0, 1, 1, 2), "size": _ints(2, 2, -1, 3)}),
    ("slice_update", ("iOS18",), {"x": _M, "update": -_M[:2, 1:3], "begin": _ints(1, 1),
                                  "end": _ints(3, 3)}),
    ("split", _ANY, {"x": _X, "num_splits": 2, "axis": 2}),
    ("split", _ANY, {"x": _X, "split_sizes": _ints(1, 2), "axis": 1}),
    ("stack", _ANY, {"values": [_M, -_M], "axis": 1}),
    ("tile", _ANY, {"x": _M, "reps": _ints(2, 3)}),
    ("transpose", _ANY, {"x": _X, "perm": _ints(0, -1, 1, 2)}),
]  # fmt: skip

#: a list is no constant of a package, and the other one folds nothing
_NOT_FOLDED = {"list_length", "reverse_sequence"}


#: modules of coremltools whose operations are compared in test_mil_value_inference
_NEXT_DOOR = ("elementwise_unary", "elementwise_binary", "reduction")


@pytest.mark.parametrize(
    ("name", "system", "arguments"),
    [
        pytest.param(name, system, arguments, id=f"{name}-{system}-{number}")
        for number, (name, systems, arguments) in enumerate(CASES)
        for system in systems
    ],
)
def test_the_kernel_gives_what_coremltools_folds(
    apply_kernel: Any, name: str, system: str, arguments: dict[str, Any]
) -> None:
    own = copy.deepcopy(arguments)  # coremltools folds some operations in place
    with quiet(), Function({}, opset_version=getattr(ct.target, system)):
        made = getattr(mb, name)(**own)
    variables = made if isinstance(made, list | tuple) else [made]
    found = apply_kernel(name, **arguments)
    arrays = found if isinstance(found, list | tuple) else [found]
    for variable, array in zip(variables, arrays, strict=True):
        expected = np.asarray(variable.val)
        assert variable.val is not None
        assert np.shape(array) == expected.shape
        np.testing.assert_allclose(array, expected, rtol=2e-5, atol=1e-6)


def test_no_operation_is_left_out() -> None:
    newest = {name: [*versions.values()][-1] for name, versions in SSAOpRegistry.core_ops.items()}
    folded = {
        name
        for name, operation in newest.items()
        if name in KERNELS
        and operation.value_inference is not Operation.value_inference
        and operation.__module__.split(".")[-1] not in _NEXT_DOOR
    }
    compared = {name for name, _, _ in CASES}
    assert folded - compared == _NOT_FOLDED
