"""If and Loop as blocks of the program, against ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx.parser
import onnx_ir as ir
import pytest

from edgewise.errors import UnsupportedOperator
from edgewise.graph import OrtSession
from edgewise.targets import EmitOptions
from edgewise.targets.apple import TARGET
from edgewise.targets.apple.interpreter.kernels import KERNELS
from edgewise.targets.apple.interpreter.program import load_program

Feeds = Mapping[str, Any]
X = np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)


def parsed(text: str) -> ir.Model:
    header = '<ir_version: 10, opset_import: ["" : 21]>\n'
    return ir.from_proto(onnx.parser.parse_model(header + text))


@pytest.fixture
def same(tmp_path: Path) -> Callable[..., list[str]]:
    """The package gives what ONNX Runtime gives, for each of the feeds. Gives its operations."""

    def check(source: ir.Model, *feeds: Feeds, precision: str = "fp32", atol: float = 1e-5) -> Any:
        options = {"compute": "fp32"} if precision == "w8a8" else {}
        artifact = TARGET.emit(source, tmp_path, precision, options=EmitOptions(options=options))
        session, reference = TARGET.open(artifact), OrtSession(source)
        for feed in feeds:
            found, wanted = session.run(feed), reference.run(feed)
            for name, array in wanted.items():
                assert (found[name].shape, found[name].dtype) == (array.shape, array.dtype)
                np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=atol)
        function = load_program(artifact.path, KERNELS).function
        return [operation.op_type for operation in function.operations]

    return check


def refusal(source: ir.Model, folder: Path) -> UnsupportedOperator:
    with pytest.raises(UnsupportedOperator) as caught:
        TARGET.emit(source, folder, "fp32")
    assert not list(folder.iterdir())
    return caught.value


# ---- If


def branches(first: str, second: str, more: str = "") -> ir.Model:
    return parsed(
        f"""g (float[2,3] x, float[2,3] w, bool c) => (float[2,3] y)
        <float[3] k = {{1.0, 2.0, 3.0}}> {{ {more}
          y = If (c) <then_branch = t () => (float[2,3] a) {{ {first} }},
                      else_branch = e () => (float[2,3] b) {{ {second} }}> }}"""
    )


_NESTED = """n = Neg(x) b = If (c) <then_branch = i () => (float[2,3] p) { p = Add(n, w) },
    else_branch = j () => (float[2,3] q) { q = Mul(n, k) }>"""


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize(
    ("first", "second", "more"),
    [
        ("a = Mul(x, w)", "b = Add(x, k)", ""),
        ("a = Identity(x)", "b = Neg(w)", ""),
        ("a = Identity(x)", "b = Identity(w)", ""),
        ("a = Expand(k, s)", "b = Identity(x)", "s = Shape(x)"),
        ("a = Relu(m)", "b = Add(x, w)", "m = Mul(x, w)"),
        ("a = Relu(x)", _NESTED, ""),
    ],
)
def test_only_the_branch_that_is_taken_counts(
    same: Any, first: str, second: str, more: str, precision: str
) -> None:
    source = branches(first, second, more)
    feeds = [{"x": X, "w": -2 * X, "c": np.array(taken)} for taken in (True, False, True)]
    operations = same(
        source, *feeds, precision=precision, atol=1e-5 if precision == "fp32" else 9e-3
    )
    assert operations.count("cond") == 1


def test_branches_of_different_shapes_are_refused(tmp_path: Path) -> None:
    source = parsed(
        """g (float[2,3] x, bool c) => (float[n,3] y) <int64[1] z = {0}> {
          y = If (c) <then_branch = t () => (float[2,3] a) { a = Neg(x) },
                      else_branch = e () => (float[1,3] b) { b = ReduceMax(x, z) }>
        }"""
    )
    found = refusal(source, tmp_path)
    assert found.node == "y" and "['2', '3'] and ['1', '3']" in found.why


def test_a_refusal_in_a_branch_names_its_node(tmp_path: Path) -> None:
    source = branches("r = RandomUniformLike(x) a = Add(r, w)", "b = Neg(x)")
    assert refusal(source, tmp_path).node == "r"


# ---- Loop


def loop(
    inputs: str, body: str, *, limit: str = "m", start: str = '""', states: str = "x",
    given: str = "float[2,3] s", outputs: str = "float[2,3] y", names: str = "y",
    constants: str = "",
) -> ir.Model:  # fmt: skip
    return parsed(
        f"""g ({inputs}) => ({outputs}) <float one = {{1.0}}, float top = {{20.0}},
            float[2,3] k = {{1.0, 2.0, 3.0, 4.0, 5.0, 6.0}} {constants}> {{
          {names} = Loop ({limit}, {start}, {states})
              <body = b (int64 i, bool go, {given}) => {body}>
        }}"""
    )


ADDING = "(bool on, float[2,3] t) { on = Identity(go) t = Add(s, x) }"
COUNTING = """(bool on, float[2,3] t) {
    t = Add(s, one) high = ReduceMax<keepdims = 0>(t) on = Less(high, top)
}"""


def numbers(*counts: int) -> list[Feeds]:
    return [{"x": X, "m": np.array(count)} for count in counts]


def test_a_computed_number_of_iterations(same: Any) -> None:
    operations = same(loop("float[2,3] x, int64 m", ADDING), *numbers(3, 0, 1, -2, 40))
    assert operations.count("while_loop") == 1


def test_half_precision(same: Any) -> None:
    feeds = numbers(3, 0)
    same(loop("float[2,3] x, int64 m", ADDING), *feeds, precision="fp16", atol=9e-3)


@pytest.mark.parametrize(
    ("inputs", "limit", "start", "more"),
    [
        ("float[2,3] x, bool c", '""', "c", [{"c": np.array(True)}, {"c": np.array(False)}]),
        ("float[2,3] x, int64 m", "m", '""', [{"m": np.array(n)} for n in (0, 4, 99)]),
        ("float[2,3] x", "far", "yes", [{}]),
        ("float[2,3] x", "few", '""', [{}]),
    ],
)
def test_a_condition_that_the_body_computes(
    same: Any, inputs: str, limit: str, start: str, more: list[Feeds]
) -> None:
    constants = ", int64 far = {9223372036854775807}, int64 few = {5}, bool yes = {1}"
    source = loop(inputs, COUNTING, limit=limit, start=start, constants=constants)
    same(source, *({"x": x, **given} for given in more for x in (X, X + 18, X * 40)))


@pytest.mark.parametrize(
    "body",
    [
        "t = Identity(r) u = Identity(s)",  # exchanged
        "t = Add(s, r) u = Identity(t)",  # one tensor as two outputs
        "t = Identity(k) u = Add(s, r)",  # a constant
        "t = Identity(s) u = Add(s, r)",  # handed on
        "t = Identity(x) u = Add(s, r)",  # from around
    ],
)
def test_what_goes_round_arrives_at_its_place(same: Any, body: str) -> None:
    source = loop(
        "float[2,3] x, float[2,3] z, int64 m",
        f"(bool on, float[2,3] t, float[2,3] u) {{ on = Identity(go) {body} }}",
        states="x, z", given="float[2,3] s, float[2,3] r",
        outputs="float[2,3] y, float[2,3] v", names="y, v",
    )  # fmt: skip
    same(source, *({"x": X, "z": X[::-1] * 3, "m": np.array(n)} for n in (0, 1, 2, 3)))


@pytest.mark.parametrize(
    ("dtype", "step"),
    [("float", "Add(s, s)"), ("int32", "Add(s, s)"), ("int64", "Add(s, s)"), ("bool", "Not(s)")],
)
@pytest.mark.parametrize("shape", ["", "[2,3]"])
def test_results_are_stacked_in_a_long_loop(same: Any, dtype: str, step: str, shape: str) -> None:
    stacked = "[3000,2,3]" if shape else "[3000]"
    source = parsed(
        f"""g ({dtype}{shape} x) => ({dtype}{shape} y, {dtype}{stacked} z) <int64 m = {{3000}}> {{
          y, z = Loop (m, "", x) <body = b (int64 i, bool go, {dtype}{shape} s)
              => (bool on, {dtype}{shape} t, {dtype}{shape} u)
              {{ on = Identity(go) q = {step} t = Identity(s) u = Identity(q) }}>
        }}"""
    )
    name = "float32" if dtype == "float" else dtype
    x = np.arange(6).reshape(2, 3) % 2 if shape else np.array(1)
    operations = same(source, {"x": x.astype(name)})
    assert operations.count("while_loop") == 1


def test_the_number_of_the_iteration(same: Any) -> None:
    source = parsed(
        """g (float[2,3] x) => (float[2,3] y, int64[3000] z) <int64 m = {3000}, float h = {0.5}> {
          y, z = Loop (m, "", x) <body = b (int64 i, bool go, float[2,3] s)
              => (bool on, float[2,3] t, int64 u)
              { on = Identity(go) n = Cast<to = 1>(i) r = Mul(s, h) t = Add(r, n) u = Mul(i, i) }>
        }"""
    )
    same(source, {"x": X})


def test_if_and_loop_inside_of_a_loop(same: Any) -> None:
    source = loop(
        "float[2,3] x, int64 m",
        """(bool on, float[2,3] t) {
            on = Identity(go) two = Add(one, one) n = Cast<to = 1>(i) r = Sub(n, one)
            early = Less(r, one)
            p = If (early) <then_branch = e () => (float[2,3] f) { f = Add(s, x) },
                            else_branch = o () => (float[2,3] h) { h = Sub(s, two) }>
            t = Loop (m, "", p) <body = d (int64 j, bool keep, float[2,3] u)
                => (bool kept, float[2,3] v) { kept = Identity(keep) w = Add(u, n) v = Mul(w, k) }>
        }""",
    )
    same(source, *numbers(0, 1, 2, 3))


def test_what_holds_in_the_first_iteration_alone(same: Any) -> None:
    """The number 0 and the constant start are known before; the body must not count on them."""
    source = parsed(
        """g (int64 m) => (float[2] y, float[2] z)
        <float[2] k = {1.0, 2.0}, int64 nil = {0}, float two = {2.0}> {
          y, z = Loop (m, "", k, k) <body = b (int64 i, bool go, float[2] s, float[2] r)
              => (bool on, float[2] t, float[2] u) {
            on = Identity(go) first = Equal(i, nil) d = Mul(s, two) t = Where(first, s, d)
            u = If (first) <then_branch = e () => (float[2] f) { f = Identity(r) },
                            else_branch = o () => (float[2] h) { h = Add(r, s) }> }>
        }"""
    )
    same(source, *({"m": np.array(count)} for count in (0, 1, 2, 4)))


def test_few_iterations_are_written_out(same: Any) -> None:
    source = loop("float[2,3] x", ADDING, limit="few", constants=", int64 few = {5}")
    assert "while_loop" not in same(source, {"x": X})


_CASES = [
    (loop("float[2,3] x", ADDING, limit='""'), "nothing ends it"),
    (
        loop(
            "float[2,3] x, int64 m",
            "(bool on, float[2,3] t, float[2,3] u) { on = Identity(go) t = Neg(s) u = Abs(s) }",
            outputs="float[2,3] y, float[n,2,3] z", names="y, z",
        ),
        "data decide how many",
    ),
    (
        parsed(
            """g (float[2,3] x, int64 m) => (float[p,3] y) {
              y = Loop (m, "", x) <body = b (int64 i, bool go, float[p,3] s)
                  => (bool on, float[q,3] t) { on = Identity(go) t = Concat<axis = 0>(s, s) }>
            }"""
        ),
        "changes from one iteration to the next",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("source", "why"), _CASES)
def test_loops_that_a_program_cannot_hold_are_refused(
    tmp_path: Path, source: ir.Model, why: str
) -> None:
    found = refusal(source, tmp_path)
    assert found.node == "y" and why in found.why and found.remedy
    errors = [f.rule for f in TARGET.check(source) if f.severity == "error"]
    assert errors == ["apple/unsupported-operator"]


# ---- quantized models

QDQ = """<float s1 = {0.02}, int8 z1 = {3}, float s2 = {0.05}, int8 z2 = {-7}, float s3 = {0.01},
    int8 z3 = {0}, int8[3,3] wq = {90, -20, 33, 7, -127, 44, 12, 65, -80}>"""


def test_integers_inside_and_outside_of_branches(same: Any) -> None:
    source = parsed(
        f"""g (float[2,3] x, bool c) => (float[2,3] y) {QDQ} {{
          xq = QuantizeLinear(x, s1, z1) xd = DequantizeLinear(xq, s1, z1)
          v = If (c) <
            then_branch = t () => (float[2,3] a) {{
              d = DequantizeLinear(xq, s1, z1) w = DequantizeLinear(wq, s3, z3) m = MatMul(d, w)
              q = QuantizeLinear(m, s2, z2) a = DequantizeLinear(q, s2, z2) }},
            else_branch = e () => (float[2,3] b) {{
              r = Relu(xd) p = QuantizeLinear(r, s2, z2) b = DequantizeLinear(p, s2, z2) }}>
          yq = QuantizeLinear(v, s2, z2) y = DequantizeLinear(yq, s2, z2)
        }}"""
    )
    feeds = [{"x": X, "c": np.array(taken)} for taken in (True, False)]
    same(source, *feeds, precision="w8a8")


@pytest.mark.parametrize("scale", ["s1, z1", "s2, z2"])
def test_integers_go_round(same: Any, scale: str) -> None:
    source = parsed(
        f"""g (float[2,3] x, int64 m) => (float[2,3] y) {QDQ} {{
          xq = QuantizeLinear(x, s1, z1)
          v = Loop (m, "", xq) <body = b (int64 i, bool go, int8[2,3] s)
              => (bool on, int8[2,3] t) {{
            on = Identity(go) d = DequantizeLinear(s, s1, z1) w = DequantizeLinear(wq, s3, z3)
            n = MatMul(d, w) t = QuantizeLinear(n, {scale}) }}>
          y = DequantizeLinear(v, s1, z1)
        }}"""
    )
    same(source, *numbers(0, 1, 4), precision="w8a8")


# ---- the file


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    source = loop("float[2,3] x, int64 m", COUNTING)
    written = []
    for number in range(2):
        path = TARGET.emit(source, tmp_path / str(number)).path
        files = sorted(file for file in path.rglob("*") if file.is_file())
        written.append([file.read_bytes() for file in files])
    assert written[0] == written[1]
