"""Who runs the operators: what LiteRT says of XNNPACK, and what the rule tables say of others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.schema_py_generated import BuiltinOperator

from edgewise.errors import UsageError
from edgewise.findings import Finding
from edgewise.targets.android import TARGET
from edgewise.targets.android.delegates.accelerators import RULE_TABLES, accelerator_findings
from edgewise.targets.android.delegates.placement import Placement, ask_runtime
from edgewise.targets.android.delegates.xnnpack import placement_findings
from edgewise.targets.android.flatbuffer import serialize
from edgewise.targets.android.model import Graph, Operator, Quantization, Tensor
from edgewise.targets.android.options import AndroidOptions
from edgewise.targets.android.runtime import load
from edgewise.targets.base import EmitOptions

FLOAT = np.dtype(np.float32)
INT8 = np.dtype(np.int8)


def _float(*shape: int) -> Tensor:
    return Tensor(shape, FLOAT)


def _int8(*shape: int, scale: float = 0.05) -> Tensor:
    return Tensor(shape, INT8, Quantization.per_tensor(scale, 3))


def _graph(operators: list[Operator], inputs: list[Tensor], outputs: list[Tensor]) -> Graph:
    return Graph(
        operators,
        inputs,
        outputs,
        [f"i{n}" for n in range(len(inputs))],
        [f"o{n}" for n in range(len(outputs))],
    )


def _ask(graph: Graph) -> Placement:
    return ask_runtime(graph, load(serialize(graph), threads=1))


def _taken(graph: Graph, placement: Placement) -> list[str]:
    return [operator.origin for operator in graph.operators if operator in placement.delegated]


def test_the_runtime_tells_what_is_inside_of_its_groups() -> None:
    """Two groups around what XNNPACK does not take, one of them with a branch that ends inside."""
    x, a, b, c, d, e = (_float(1, 4, 4, 8) for _ in range(6))
    graph = _graph(
        [
            Operator("ABS", (x,), (a,), origin="first"),
            Operator("SIN", (a,), (b,), origin="alone"),
            Operator("ABS", (a,), (c,), origin="beside"),
            Operator("ADD", (b, c), (d,), {"fusedActivationFunction": 0}, origin="joined"),
            Operator("FLOOR", (d,), (e,), origin="last"),
        ],
        [x],
        [e],
    )
    alone = _graph([Operator("SIN", (x,), (b,))], [x], [b])
    placement = _ask(graph)
    assert placement.asked == frozenset(graph.operators) and not placement.reason
    assert placement.runtime.startswith(f"LiteRT {version('ai-edge-litert')} on ")
    expected = ["first", "beside", "joined", "last"]
    if _ask(alone).delegated:  # a runtime that has learnt SIN
        expected.insert(1, "alone")
    assert _taken(graph, placement) == expected


@pytest.mark.parametrize("kind", ["ADD", "MUL", "SUB"])
@pytest.mark.parametrize("scale", [0.05, 400.0])
def test_ratios_of_scales_decide(kind: str, scale: float) -> None:
    """The same kind is taken or not: only the runtime can tell, not a list of kinds."""
    x, y, z = _int8(1, 4, 4, 8), _int8(1, 4, 4, 8), _int8(1, 4, 4, 8, scale=scale)
    options = {"fusedActivationFunction": 0}
    graph = _graph([Operator(kind, (x, y), (z,), options, 2, "n")], [x, y], [z])
    assert bool(_ask(graph).delegated) == (scale == 0.05)


def test_bodies_are_asked_about_too(execute: Callable[..., Any], kit: Any, rng: Any) -> None:
    x, keep, out = _float(4), Tensor((), np.dtype(np.bool_)), _float(4)
    bodies = {}
    for option, kind in (("thenSubgraphIndex", "ABS"), ("elseSubgraphIndex", "FLOOR")):
        inner, result = _float(4), _float(4)
        operator = Operator(kind, (inner,), (result,), origin=option)
        bodies[option] = Graph([operator], [inner], [result])
    branch = Operator("IF", (keep, x), (out,), {}, 1, "branch", bodies)
    graph = _graph([branch], [keep, x], [out])
    placement = _ask(graph)
    inside = [operator for body in bodies.values() for operator in body.operators]
    assert set(inside) <= set(placement.delegated)
    assert branch in placement.asked and branch not in placement.delegated


def _finding_of(findings: Any, rule: str) -> Finding:
    (found,) = (finding for finding in findings if finding.rule == f"android/{rule}")
    return found


def test_alike_operators_are_one_finding() -> None:
    x = _int8(1, 2, 2, 3)
    operators, last = [], x
    for index in range(6):
        out = _int8(1, 2, 2, 3)
        operators.append(Operator("PRELU", (last,), (out,), origin=f"n{index}"))
        last = out
    placement = Placement("LiteRT 9 on m68k", frozenset(operators), frozenset(operators[-1:]))
    (found,) = placement_findings(operators, placement)
    assert (found.rule, found.severity, found.node) == ("android/not-delegated", "info", "n0")
    assert found.message == (
        "XNNPACK leaves 5 int8 PRELU to the built-in kernels, says LiteRT 9 on m68k "
        "(60 elements; also at 'n1', 'n2', 'n3', 1 more nodes)"
    )


def test_a_dtype_that_is_not_taken_at_all_is_one_finding() -> None:
    wide = Quantization.per_tensor(0.1, 0, np.dtype(np.int16))
    x, y, z = (Tensor((4,), np.dtype(np.int16), wide) for _ in range(3))
    operators = [Operator("ABS", (x,), (y,), origin="a"), Operator("NEG", (y,), (z,), origin="b")]
    (found,) = placement_findings(operators, Placement("LiteRT", frozenset(operators)))
    assert "takes none of 2 int16 operators: ABS 1, NEG 1, says LiteRT" in found.message


def test_nothing_is_claimed_of_what_was_not_asked() -> None:
    operator = Operator("PRELU", (_int8(4),), (_int8(4),), origin="n")
    (found,) = placement_findings([operator], Placement("LiteRT", reason="out of memory"))
    assert found.rule == "android/placement-unknown" and "out of memory" in found.message


def test_an_artifact_carries_what_the_runtime_said(
    execute: Callable[..., Any], kit: Any, rng: Any
) -> None:
    x = rng.standard_normal((1, 8, 6, 6)).astype(np.float32)
    nodes = [kit.node("Abs", ["x"], ["a"]), kit.node("ArgMax", ["a"], ["y"], axis=1)]
    run = execute(kit.model(nodes, {"x": x}, {"y": np.int64}), {"x": x})
    found = _finding_of(run.artifact.findings, "not-delegated")
    assert found.node == "n_y" and f"LiteRT {version('ai-edge-litert')}" in found.message


@pytest.mark.parametrize("delegate", RULE_TABLES)
def test_rule_tables_name_operators_of_the_schema(delegate: str) -> None:
    table = RULE_TABLES[delegate]
    known = {name for name in vars(BuiltinOperator) if name.isupper()}
    assert (table.takes or frozenset()) | table.leaves | set(table.rules) <= known
    assert set(table.rules) <= (table.takes or known)
    assert table.version and "github.com" in table.source


def _constant(values: Any, dtype: Any = np.int32) -> Tensor:
    array = np.asarray(values, dtype)
    return Tensor(array.shape, array.dtype, data=array)


INT32 = np.dtype(np.int32)
_SLICES = (_constant([0, 0]), _constant([1, 1]), _constant([1, 1]))
GPU_CASES: list[tuple[str, tuple[Tensor, ...], Tensor, Mapping[str, Any], str]] = [
    ("ADD", (_float(2, 3), _float(2, 3)), _float(2, 3), {}, ""),
    ("ADD", (_float(1, 1, 1, 2, 3), _float(3)), _float(1, 1, 1, 2, 3), {}, "four dimensions"),
    ("ADD", (Tensor((3,), INT32), _float(3)), Tensor((3,), INT32), {}, "int32 values"),
    ("ADD", (_int8(2, 3), _int8(2, 3)), _int8(2, 3), {}, ""),
    ("LESS", (_float(3), _float(3)), Tensor((3,), np.dtype(np.bool_)), {}, ""),
    ("CAST", (Tensor((3,), INT32),), _float(3), {}, ""),
    ("TOPK_V2", (_float(3), _constant(1)), _float(1), {}, "list of operators"),
    ("GATHER", (_float(4, 3), _constant([1])), _float(1, 3), {}, ""),
    ("GATHER", (_float(4, 3), _constant([[1]])), _float(1, 1, 3), {}, "rank"),
    ("GATHER", (_float(4, 3), _constant([1], np.int64)), _float(1, 3), {}, "int64 indices"),
    ("STRIDED_SLICE", (_float(2, 3), *_SLICES), _float(1, 1), {}, "three dimensions"),
    ("STRIDED_SLICE", (_float(1, 2, 3), *_SLICES), _float(1), {"shrinkAxisMask": 1}, "vanish"),
    ("PAD", (_float(1, 2, 2, 3), _constant(np.zeros((4, 2)))), _float(1, 2, 2, 3), {}, ""),
    ("PAD", (_float(2, 3), _constant(np.zeros((2, 2)))), _float(2, 3), {}, "three dimensions"),
    (
        "MIRROR_PAD",
        (_float(1, 2, 2, 3), _constant(np.zeros((4, 2)))),
        _float(1, 2, 2, 3),
        {"mode": 1},
        "symmetric",
    ),
    ("MEAN", (_float(2, 3), _constant([1])), _float(2), {}, ""),
    ("MEAN", (_float(2, 3), Tensor((1,), INT32)), _float(2), {}, "computed parameters"),
    ("SELECT_V2", (_float(3), _float(1), _float(3)), _float(3), {}, ""),
    ("SELECT_V2", (_float(2, 3), _float(3), _float(2, 3)), _float(2, 3), {}, "branches"),
]


@pytest.mark.parametrize(("kind", "inputs", "output", "options", "reason"), GPU_CASES)
def test_rules_of_the_gpu_delegate(
    kind: str, inputs: tuple[Tensor, ...], output: Tensor, options: Mapping[str, Any], reason: str
) -> None:
    found = RULE_TABLES["gpu"].objection(Operator(kind, inputs, (output,), dict(options)))
    assert found is None if not reason else reason in (found or "")


@pytest.mark.parametrize(
    ("delegate", "kind", "taken"),
    [
        ("qualcomm", "TOPK_V2", True),
        ("qualcomm", "REVERSE_SEQUENCE", False),
        ("mediatek", "GELU", True),
        ("mediatek", "ELU", False),
        ("google_tensor", "ELU", True),
        ("google_tensor", "SHAPE", False),
    ],
)
def test_rules_of_npus(delegate: str, kind: str, taken: bool) -> None:
    operator = Operator(kind, (_float(3),), (_float(3),))
    assert (RULE_TABLES[delegate].objection(operator) is None) == taken


def test_an_accelerator_is_one_line_that_says_where_it_comes_from() -> None:
    x, y, z = _float(1, 4), _float(1, 4), _float(1, 4)
    fine = Operator("ABS", (x,), (y,), origin="fine")
    odd = Operator("ROUND", (y,), (z,), origin="odd")
    (found,) = accelerator_findings([fine, odd], "gpu")
    assert (found.rule, found.severity, found.node) == ("android/gpu-unsupported", "info", "odd")
    assert "leaves 1 of 2 operators to the CPU" in found.message
    assert f"by rule table {RULE_TABLES['gpu'].version}, no device was asked" in found.message
    assert accelerator_findings([fine], "gpu") == []


def test_only_chosen_delegates_are_told_of(kit: Any, tmp_path: Any) -> None:
    x = np.zeros((2, 3), np.float32)
    model = kit.model([kit.node("Round", ["x"], ["y"])], {"x": x}, {"y": np.float32})
    rules = {}
    for chosen in (None, ["xnnpack"], ["mediatek", "gpu"]):
        given = {} if chosen is None else {"delegates": chosen}
        artifact = TARGET.emit(model, tmp_path, options=EmitOptions(options=given))
        rules[str(chosen)] = [finding.rule for finding in artifact.findings]
    assert rules == {
        "None": ["android/gpu-unsupported"],
        "['xnnpack']": [],
        "['mediatek', 'gpu']": ["android/gpu-unsupported", "android/mediatek-unsupported"],
    }


@pytest.mark.parametrize("given", ["gpu", ["tpu"], 3, [["gpu"]]])
def test_other_delegates_are_refused(given: Any) -> None:
    with pytest.raises(UsageError, match="Allowed: a list of xnnpack, gpu, qualcomm"):
        AndroidOptions.of({"delegates": given}, TARGET.scheme("fp32"))
