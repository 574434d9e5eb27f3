"""If and Loop as subgraphs of the file, against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import pytest

from edgewise.errors import UnsupportedOperator
from edgewise.graph import OrtSession
from edgewise.targets.android import TARGET
from edgewise.targets.android.flatbuffer import serialize
from edgewise.targets.android.legalize import legalize
from edgewise.targets.android.lower import lower
from edgewise.targets.android.verify import problems

X = np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)


def parsed(text: str) -> ir.Model:
    return ir.from_proto(
        onnx.parser.parse_model('<ir_version: 10, opset_import: ["" : 21]>\n' + text)
    )


def graph_of(source):
    return lower(*legalize(source)).graph


def same(source, folder, *feeds, precision="fp32", atol=1e-5):
    """The file gives what ONNX Runtime gives, for each of the feeds."""
    artifact = TARGET.emit(source, folder, precision)
    session, reference = TARGET.open(artifact), OrtSession(source)
    for feed in feeds:
        found, wanted = session.run(feed), reference.run(feed)
        for name, array in wanted.items():
            assert (found[name].shape, found[name].dtype) == (array.shape, array.dtype)
            np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=atol)


def refusal(source, folder) -> UnsupportedOperator:
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


@pytest.mark.parametrize(
    ("first", "second", "more"),
    [
        ("a = Mul(x, w)", "b = Add(x, k)", ""),
        ("a = Identity(x)", "b = Neg(w)", ""),
        ("a = Identity(x)", "b = Identity(w)", ""),
        ("a = Expand(k, s)", "b = Identity(x)", "s = Shape(x)"),
        ("a = Relu(m)", "b = Add(x, w)", "m = Mul(x, w)"),
        ("a = Relu(x)", "n = Neg(x) b = If (c) <then_branch = i () => (float[2,3] p) "
         "{ p = Add(n, w) }, else_branch = j () => (float[2,3] q) { q = Mul(n, k) }>", ""),
    ],
)  # fmt: skip
def test_only_the_branch_that_is_taken_counts(tmp_path, first, second, more):
    source = branches(first, second, more)
    assert [o.kind for o in graph_of(source).operators].count("IF") == 1
    feeds = [{"x": X, "w": -2 * X, "c": np.array(taken)} for taken in (True, False, True)]
    same(source, tmp_path, *feeds)


def test_a_known_condition_leaves_its_branch(tmp_path):
    source = parsed(
        """g (float[2,3] x) => (float[2,3] y) <bool c = {0}> {
          y = If (c) <then_branch = t () => (float[2,3] a) { a = Neg(x) },
                      else_branch = e () => (float[2,3] b) { b = Abs(x) }>
        }"""
    )
    assert [o.kind for o in graph_of(source).operators] == ["ABS"]
    same(source, tmp_path, {"x": X})


def test_pictures_enter_and_leave_a_branch_as_they_lie(tmp_path, rng):
    source = parsed(
        """g (float[1,3,5,6] x, bool c) => (float[1,3,5,6] y)
        <float[3,3,1,1] w = {1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0}> {
          v = Conv(x, w)
          u = If (c) <then_branch = t () => (float[1,3,5,6] a) { a = Conv(v, w) },
                      else_branch = e () => (float[1,3,5,6] b) { b = Identity(v) }>
          y = Conv(u, w)
        }"""
    )
    graphs = graph_of(source).all_graphs()
    assert not [o for graph in graphs for o in graph.operators if o.kind == "TRANSPOSE"]
    x = rng.standard_normal((1, 3, 5, 6)).astype(np.float32)
    same(source, tmp_path, *({"x": x, "c": np.array(taken)} for taken in (True, False)))


def test_branches_of_different_shapes_are_refused(tmp_path):
    source = parsed(
        """g (float[2,3] x, bool c) => (float[n,3] y) {
          y = If (c) <then_branch = t () => (float[2,3] a) { a = Neg(x) },
                      else_branch = e () => (float[1,3] b) { b = ReduceSum(x) }>
        }""".replace("ReduceSum(x)", "ReduceMax(x, z)").replace(
            "float[n,3] y)", "float[n,3] y) <int64[1] z = {0}>"
        )
    )
    found = refusal(source, tmp_path)
    assert found.node == "y" and "[2, 3] and [1, 3]" in found.why


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


def numbers(*counts: int) -> list[dict[str, np.ndarray]]:
    return [{"x": X, "m": np.array(count)} for count in counts]


def test_a_computed_number_of_iterations(tmp_path):
    source = loop("float[2,3] x, int64 m", ADDING)
    assert [o.kind for o in graph_of(source).operators] == ["WHILE"]
    same(source, tmp_path, *numbers(3, 0, 1, -2, 40))


@pytest.mark.parametrize(
    ("inputs", "limit", "start", "more"),
    [
        ("float[2,3] x, bool c", '""', "c", [{"c": np.array(True)}, {"c": np.array(False)}]),
        ("float[2,3] x, int64 m", "m", '""', [{"m": np.array(n)} for n in (0, 4, 99)]),
        ("float[2,3] x", "far", "yes", [{}]),
        ("float[2,3] x", "few", '""', [{}]),
    ],
)
def test_a_condition_that_the_body_computes(tmp_path, inputs, limit, start, more):
    constants = ", int64 far = {9223372036854775807}, int64 few = {5}, bool yes = {1}"
    source = loop(inputs, COUNTING, limit=limit, start=start, constants=constants)
    feeds = [{"x": x, **given} for given in more for x in (X, X + 18, X * 40)]
    same(source, tmp_path, *feeds)


@pytest.mark.parametrize(
    ("body", "states"),
    [
        ("t = Identity(r) u = Identity(s)", 2),  # exchanged: kernels copy one after the other
        ("t = Add(s, r) u = Identity(t)", 2),  # one tensor as two outputs
        ("t = Identity(k) u = Add(s, r)", 2),  # a constant
        ("t = Identity(s) u = Add(s, r)", 2),  # handed on
        ("t = Identity(x) u = Add(s, r)", 2),  # from around
    ],
)
def test_what_goes_round_arrives_at_its_place(tmp_path, body, states):
    source = loop(
        "float[2,3] x, float[2,3] z, int64 m",
        f"(bool on, float[2,3] t, float[2,3] u) {{ on = Identity(go) {body} }}",
        states="x, z", given="float[2,3] s, float[2,3] r",
        outputs="float[2,3] y, float[2,3] v", names="y, v",
    )  # fmt: skip
    feeds = [{"x": X, "z": X[::-1] * 3, "m": np.array(n)} for n in (0, 1, 2, 3)]
    same(source, tmp_path, *feeds)


@pytest.mark.parametrize(
    ("dtype", "step"),
    [
        ("float", "Add(s, s)"), ("int32", "Add(s, s)"), ("int64", "Add(s, s)"),
        ("bool", "Not(s)"), ("uint8", "Identity(s)"), ("int8", "Identity(s)"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("shape", ["", "[2,3]"])
def test_results_are_stacked_in_a_long_loop(tmp_path, dtype, step, shape):
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
    same(source, tmp_path, {"x": x.astype(name)})


def test_the_number_of_the_iteration(tmp_path):
    source = parsed(
        """g (float[2,3] x) => (float[2,3] y, int64[3000] z) <int64 m = {3000}, float h = {0.5}> {
          y, z = Loop (m, "", x) <body = b (int64 i, bool go, float[2,3] s)
              => (bool on, float[2,3] t, int64 u)
              { on = Identity(go) n = Cast<to = 1>(i) r = Mul(s, h) t = Add(r, n) u = Mul(i, i) }>
        }"""
    )
    same(source, tmp_path, {"x": X})


def test_if_and_loop_inside_of_a_loop(tmp_path):
    source = loop(
        "float[2,3] x, int64 m",
        """(bool on, float[2,3] t) {
            on = Identity(go) two = Add(one, one) n = Cast<to = 1>(i) r = Mod<fmod = 1>(n, two)
            even = Less(r, one)
            p = If (even) <then_branch = e () => (float[2,3] f) { f = Add(s, x) },
                           else_branch = o () => (float[2,3] h) { h = Sub(s, two) }>
            t = Loop (m, "", p) <body = d (int64 j, bool keep, float[2,3] u)
                => (bool kept, float[2,3] v) { kept = Identity(keep) w = Add(u, n) v = Mul(w, k) }>
        }""",
    )
    same(source, tmp_path, *numbers(0, 1, 2, 3))


@pytest.mark.parametrize(
    ("source", "why"),
    [
        (loop("float[2,3] x", ADDING, limit='""'), "nothing ends it"),
        (
            loop(
                "float[2,3] x, int64 m",
                "(bool on, float[2,3] t, float[2,3] u) "
                "{ on = Identity(go) t = Neg(s) u = Abs(s) }",
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
    ],
)  # fmt: skip
def test_loops_that_a_file_cannot_hold_are_refused(tmp_path, source, why):
    found = refusal(source, tmp_path)
    assert found.node == "y" and why in found.why and found.remedy
    assert [f.rule for f in TARGET.check(source) if f.severity == "error"] == [
        "android/unsupported-operator"
    ]


# ---- quantized models

QDQ = """<float s1 = {0.02}, int8 z1 = {3}, float s2 = {0.05}, int8 z2 = {-7}, float s3 = {0.01},
    int8 z3 = {0}, int8[3,3] wq = {90, -20, 33, 7, -127, 44, 12, 65, -80}>"""


def test_integers_inside_and_outside_of_branches(tmp_path):
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
    kinds = [[o.kind for o in graph.operators] for graph in graph_of(source).all_graphs()]
    assert "FULLY_CONNECTED" in kinds[1]
    feeds = [{"x": X, "c": np.array(taken)} for taken in (True, False)]
    same(source, tmp_path, *feeds, precision="w8a8", atol=0.0501)  # one step of the result


def quantized_loop(scale: str) -> ir.Model:
    return parsed(
        f"""g (float[2,3] x, int64 m) => (float[2,3] y) {QDQ} {{
          xq = QuantizeLinear(x, s1, z1)
          v = Loop (m, "", xq) <body = b (int64 i, bool go, int8[2,3] s)
              => (bool on, int8[2,3] t) {{
            on = Identity(go) d = DequantizeLinear(s, s1, z1) w = DequantizeLinear(wq, s3, z3)
            n = MatMul(d, w) t = QuantizeLinear(n, {scale}) }}>
          y = DequantizeLinear(v, s1, z1)
        }}"""
    )


def test_integers_go_round_with_one_scale(tmp_path):
    same(quantized_loop("s1, z1"), tmp_path, *numbers(0, 1, 4), precision="w8a8")


def test_integers_whose_scale_changes_in_the_loop_are_refused(tmp_path):
    with pytest.raises(UnsupportedOperator, match="changes type, scale or zero point"):
        TARGET.emit(quantized_loop("s2, z2"), tmp_path, "w8a8")


# ---- the file


def test_the_same_model_gives_the_same_bytes():
    source = loop("float[2,3] x, int64 m", COUNTING)
    first, second = (serialize(graph_of(source)) for _ in range(2))
    assert first == second


def test_bodies_are_verified():
    graph = graph_of(loop("float[2,3] x, int64 m", ADDING))
    assert not list(problems(graph))
    (operator,) = graph.operators
    body = operator.bodies["bodySubgraphIndex"]
    body.outputs.reverse()
    texts = [text for _, text in problems(graph)]
    assert any("gives something else" in text for text in texts)
    assert any("hands on its input" in text for text in texts)
    body.outputs.reverse()
    operator.bodies["condSubgraphIndex"].outputs.append(body.inputs[0])
    assert any("one bool" in text for _, text in problems(graph))
