"""Compressed constants: each form against coremltools' own expansion, whole packages that
coremltools compressed against the same packages decompressed, and speed where that one is slow."""

from __future__ import annotations

import time
from types import SimpleNamespace

import numpy as np
import pytest

from edgewise.targets.apple._coremltools import Builder as mb
from edgewise.targets.apple._coremltools import ct, quiet, types
from edgewise.targets.apple.interpreter import Interpreter
from edgewise.targets.apple.interpreter.compressed import EXPAND, expand

RNG = np.random.default_rng(0)


def _integers(low: int, high: int, *shape: int, dtype):
    return RNG.integers(low, high, shape).astype(dtype)


def _floats(*shape: int, dtype=np.float32):
    return RNG.uniform(0.1, 2.0, shape).astype(dtype)


def _mask(*shape: int):
    return _integers(0, 2, *shape, dtype=types.np_uint1_dtype)


def _cases_of_ios16():
    for dtype in (np.float16, np.float32):
        yield (
            "constexpr_affine_dequantize",
            {
                "quantized_data": _integers(-128, 128, 6, 5, dtype=np.int8),
                "scale": _floats(5, dtype=dtype),
                "zero_point": _integers(-9, 9, 5, dtype=np.int8),
                "axis": 1,
            },
        )
        yield (
            "constexpr_affine_dequantize",
            {
                "quantized_data": _integers(0, 256, 6, 5, dtype=np.uint8),
                "scale": dtype(0.37),
                "zero_point": np.uint8(200),
                "axis": 0,
            },
        )
    for bits in (1, 2, 4, 6, 8):
        packed = -(-bits * 35 // 8)
        yield (
            "constexpr_lut_to_dense",
            {
                "indices": _integers(0, 256, packed, dtype=np.uint8),
                "lut": _floats(1 << bits),
                "shape": np.array([5, 7], np.uint32),
            },
        )
    mask = RNG.integers(0, 2, 35).astype(np.uint8)
    yield (
        "constexpr_sparse_to_dense",
        {
            "nonzero_data": _floats(int(mask.sum())),
            "mask": np.packbits(mask, bitorder="little"),
            "shape": np.array([5, 7], np.uint32),
        },
    )
    yield "constexpr_cast", {"source_val": _floats(3, 4, dtype=np.float16), "output_dtype": "fp32"}


def _cases_of_ios18():
    for dtype, low, high in ((types.np_int4_dtype, -8, 8), (types.np_uint4_dtype, 0, 16)):
        for grid in ((6, 1, 1), (6, 4, 1), (3, 2, 5), (1, 1, 1)):
            given = {
                "data": _integers(low, high, 6, 8, 5, dtype=dtype),
                "scale": _floats(*grid, dtype=np.float16),
            }
            yield "constexpr_blockwise_shift_scale", given
            offset = _integers(low, high, *grid, dtype=dtype)
            yield "constexpr_blockwise_shift_scale", {**given, "offset": offset}
    yield (
        "constexpr_blockwise_shift_scale",
        {
            "data": _integers(-128, 128, 4, 6, dtype=np.int8),
            "scale": _floats(2, 3),
            "offset": _floats(2, 3),
        },
    )
    places = {
        1: types.np_uint1_dtype, 2: types.np_uint2_dtype, 3: types.np_uint3_dtype,
        4: types.np_uint4_dtype, 6: types.np_uint6_dtype, 8: np.dtype(np.uint8),
    }  # fmt: skip
    for bits, dtype in places.items():
        for grid in ((1, 1), (3, 1), (3, 2)):
            yield (
                "constexpr_lut_to_dense",
                {
                    "indices": _integers(0, 1 << bits, 6, 4, dtype=dtype),
                    "lut": _floats(*grid, 1 << bits, 1),
                },
            )
    for axis in (0, 1, -1):
        yield (
            "constexpr_lut_to_dense",
            {
                "indices": _integers(0, 4, 6, 4, dtype=types.np_uint2_dtype),
                "lut": _floats(2, 1, 4, 3),
                "vector_axis": np.int32(axis),
            },
        )
    mask = _mask(6, 4)
    count = int(np.count_nonzero(mask))
    yield "constexpr_sparse_to_dense", {"nonzero_data": _floats(count), "mask": mask}
    for length, extra in ((1, {}), (2, {"vector_axis": np.int32(1)})):
        yield (
            "constexpr_lut_to_sparse",
            {
                "indices_mask": mask,
                "indices_nonzero_data": _integers(0, 4, count, dtype=types.np_uint2_dtype),
                "lut": _floats(1, 1, 4, length),
                **extra,
            },
        )
    yield (
        "constexpr_sparse_blockwise_shift_scale",
        {
            "data_mask": mask,
            "nonzero_data": _integers(-8, 8, count, dtype=types.np_int4_dtype),
            "scale": _floats(6, 1),
            "offset": _integers(-8, 8, 6, 1, dtype=types.np_int4_dtype),
        },
    )


CASES = [("iOS16", *case) for case in _cases_of_ios16()]
CASES += [("iOS18", *case) for case in _cases_of_ios18()]


def _operation(system: str, op_type: str, given):
    """The operation as it stands in a program, and the values of its parameters by name."""
    with quiet():

        @mb.program(input_specs=[mb.TensorSpec((1,))], opset_version=getattr(ct.target, system))
        def program(x):
            made = getattr(mb, op_type)(**given)
            return made[0] if isinstance(made, tuple) else made

    (operation,) = (op for op in program.functions["main"].operations if op.op_type == op_type)
    constants = {v.name: v.val for v in operation.inputs.values() if v is not None}
    return operation, constants


@pytest.mark.parametrize(("system", "op_type", "given"), CASES)
def test_expansion_is_that_of_coremltools(system, op_type, given):
    operation, constants = _operation(system, op_type, given)
    found = expand(operation, constants)
    wanted = operation.materialized_val_inference()
    wanted = wanted if isinstance(wanted, tuple) else (wanted,)
    assert len(found) == len(wanted) == len(operation.outputs)
    for array, reference in zip(found, wanted, strict=True):
        assert array.shape == np.shape(reference) and array.dtype == reference.dtype
        np.testing.assert_allclose(array, reference, rtol=1e-6)


def test_every_form_is_tested():
    assert {op_type for _, op_type, _ in CASES} == set(EXPAND)


def test_ten_million_places_in_many_tables_take_no_time():
    places = RNG.integers(0, 256, (4096, 2560), dtype=np.uint8)
    tables = _floats(256, 1, 256, 1)
    given = {"indices": places, "lut": tables, "vector_axis": None}
    began = time.process_time()
    (dense,) = EXPAND["constexpr_lut_to_dense"](given)
    assert time.process_time() - began < 5
    np.testing.assert_array_equal(dense[17], tables[1, 0, :, 0][places[17]])


def _network():
    """Float weights large enough for all that coremltools compresses."""
    conv, matrix = (RNG.normal(0, 0.1, shape) for shape in ((32, 32, 3, 3), (64, 32)))
    with quiet():

        @mb.program(input_specs=[mb.TensorSpec((1, 32, 6, 6))], opset_version=ct.target.iOS18)
        def program(x):
            x = mb.conv(x=x, weight=conv.astype(np.float32), pad_type="same", name="conv")
            x = mb.relu(x=x)
            x = mb.reduce_mean(x=x, axes=[2, 3])
            return mb.linear(x=x, weight=matrix.astype(np.float32), name="y")

        return ct.convert(
            program,
            source="milinternal",
            convert_to="mlprogram",
            minimum_deployment_target=ct.target.iOS18,
            compute_precision=ct.precision.FLOAT32,
            skip_model_load=True,
        )


def _linear(**options):
    config = ct.optimize.coreml.OpLinearQuantizerConfig(weight_threshold=0, **options)
    wanted = ct.optimize.coreml.OptimizationConfig(global_config=config)
    return lambda model, joint=False: ct.optimize.coreml.linear_quantize_weights(
        model, wanted, joint_compression=joint
    )


def _palette(**options):
    config = ct.optimize.coreml.OpPalettizerConfig(mode="uniform", weight_threshold=0, **options)
    wanted = ct.optimize.coreml.OptimizationConfig(global_config=config)
    return lambda model, joint=False: ct.optimize.coreml.palettize_weights(
        model, wanted, joint_compression=joint
    )


def _prune():
    config = ct.optimize.coreml.OpMagnitudePrunerConfig(target_sparsity=0.6, weight_threshold=0)
    wanted = ct.optimize.coreml.OptimizationConfig(global_config=config)
    return lambda model: ct.optimize.coreml.prune_weights(model, wanted)


COMPRESSIONS = {
    "int8": (_linear(),),
    "int8 asymmetric": (_linear(mode="linear"),),
    "int4 blocks": (_linear(dtype="int4", granularity="per_block", block_size=8),),
    "uint4 channels": (_linear(dtype="uint4", mode="linear"),),
    "palette 8": (_palette(nbits=8),),
    "palette 6": (_palette(nbits=6),),
    "palette 4 groups": (_palette(nbits=4, granularity="per_grouped_channel", group_size=8),),
    "sparse": (_prune(),),
    "sparse palette": (_prune(), lambda model: _palette(nbits=4)(model, joint=True)),
    "sparse int8": (_prune(), lambda model: _linear()(model, joint=True)),
    "palette of int8": (
        _palette(nbits=4),
        lambda model: _linear(granularity="per_tensor")(model, joint=True),
    ),
}


@pytest.mark.parametrize("name", COMPRESSIONS)
def test_packages_that_coremltools_compressed(name, tmp_path):
    """The interpreter expands each, and gives what the decompressed package gives."""
    with quiet():
        model = _network()
        for compress in COMPRESSIONS[name]:
            model = compress(model)
        model.save(str(tmp_path / "small.mlpackage"))
        ct.optimize.coreml.decompress_weights(model).save(str(tmp_path / "large.mlpackage"))
    small, large = (Interpreter(tmp_path / f"{size}.mlpackage") for size in ("small", "large"))
    feeds = {small.input_names[0]: RNG.normal(size=(1, 32, 6, 6)).astype(np.float32)}
    found, wanted = (next(iter(each.run(feeds).values())) for each in (small, large))
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    sizes = [
        (tmp_path / f"{size}.mlpackage/Data/com.apple.CoreML/weights/weight.bin").stat().st_size
        for size in ("small", "large")
    ]
    assert sizes[0] < 0.75 * sizes[1]


def test_weights_that_are_infinite() -> None:
    """A file may hold any scale; nothing warns of what comes of it."""
    kinds = ("quantized_data", "scale", "zero_point", "axis")
    operation = SimpleNamespace(
        op_type="constexpr_affine_dequantize",
        inputs={kind: SimpleNamespace(name=kind) for kind in kinds},
        input_spec=SimpleNamespace(input_types=kinds),
    )
    constants = {
        "quantized_data": np.array([[2], [-3]], np.int8), "scale": np.array([3e38, 1], np.float32),
        "zero_point": np.int8(0), "axis": np.int32(0),
    }  # fmt: skip
    (dense,) = expand(operation, constants)
    assert dense.tolist() == [[np.inf], [-3.0]]
