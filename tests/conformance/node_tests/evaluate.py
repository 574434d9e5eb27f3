"""Running the selected cases through a target, each in a process that may die."""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np

from node_tests.selection import Case, cases

Verdict = Literal["pass", "refused", "wrong", "crash"]


@dataclass(frozen=True)
class Result:
    """`reason` is the refusal's or the difference's text; empty for a pass."""

    name: str
    operator: str
    verdict: Verdict
    reason: str = ""


def evaluate(
    names: Iterable[str], target: str = "android", options: Mapping[str, Any] | None = None
) -> list[Result]:
    """One result per case name, in that order. A case that kills its process is a crash."""
    options = options or {}
    pool, results = _new_pool(), []
    try:
        for name in names:
            try:
                results.append(pool.submit(evaluate_one, name, target, options).result())
            except BrokenProcessPool:
                results.append(
                    Result(name, _cases(target)[name].operator, "crash", "the process died")
                )
                pool = _new_pool()
    finally:
        pool.shutdown()
    return results


def _new_pool() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))


@cache
def _cases(target: str) -> dict[str, Case]:
    return {case.name: case for case in cases(target)}


def evaluate_one(
    name: str, target: str = "android", options: Mapping[str, Any] | None = None
) -> Result:
    """Emit the case's model, run the file, and compare with what ONNX expects."""
    from edgewise.errors import EdgewiseError, InternalError, ModelError, UnsupportedOperator

    case = _cases(target)[name]
    try:
        found = _run(case, target, options or {})
    except InternalError as error:
        return Result(name, case.operator, "crash", _line(error))
    except (UnsupportedOperator, ModelError) as error:
        why = getattr(error, "why", "") or _line(error)
        return Result(name, case.operator, "refused", why)
    except (EdgewiseError, Exception) as error:
        return Result(name, case.operator, "crash", f"{type(error).__name__}: {_line(error)}")
    problem = next(filter(None, (_difference(case, k, found) for k in case.expected)), None)
    return Result(name, case.operator, "wrong" if problem else "pass", problem or "")


def _run(case: Case, target: str, wanted: Mapping[str, Any]) -> dict[str, np.ndarray[Any, Any]]:
    import onnx_ir as ir

    from edgewise import targets
    from edgewise.graph import is_quantized_model

    backend = targets.get(target)
    source = ir.from_proto(case.model)
    quantized = is_quantized_model(_LEGALIZE[target](source))
    options = targets.EmitOptions(options={**(_EXACT[target] if quantized else {}), **wanted})
    with tempfile.TemporaryDirectory() as folder:
        artifact = backend.emit(source, folder, "w8a8" if quantized else "fp32", options=options)
        session = backend.open(artifact)
        try:
            return session.run(case.feeds)
        finally:
            session.close()


def _for_android(source: Any) -> Any:
    from edgewise.targets.android.legalize import legalize

    return legalize(source)[0]


def _for_apple(source: Any) -> Any:
    from edgewise.targets.apple.legalize import legalize
    from edgewise.targets.apple.table import is_known

    return legalize(source, is_known).model


def _for_arm(source: Any) -> Any:
    from edgewise.graph import prepare

    return prepare(source)


_LEGALIZE: dict[str, Callable[[Any], Any]] = {
    "android": _for_android,
    "apple": _for_apple,
    "arm": _for_arm,
}
#: options of quantized cases under which floats are not rounded to fp16
_EXACT: dict[str, dict[str, Any]] = {
    "android": {},
    "apple": {"compute": "fp32"},
    "arm": {},
}


def _difference(case: Case, output: str, found: dict[str, np.ndarray[Any, Any]]) -> str | None:
    expected, actual = case.expected[output], found[output]
    if (actual.shape, actual.dtype) != (expected.shape, expected.dtype):
        return (
            f"{output} is {actual.dtype}{list(actual.shape)}, "
            f"not {expected.dtype}{list(expected.shape)}"
        )
    if expected.dtype.kind == "f":
        close = np.isclose(
            actual, expected, rtol=case.rtol, atol=_atol(case, expected), equal_nan=True
        )
    else:
        close = actual == expected
    if close.all():
        return None
    return f"{np.count_nonzero(~close)} of {close.size} elements of {output} differ"


def _atol(case: Case, expected: np.ndarray[Any, Any]) -> float:
    """A spectrum is as exact as its largest number, and a float16 to a unit in its last place."""
    if case.operator in ("DFT", "STFT"):
        return case.atol * max(1.0, float(np.abs(expected).max()))
    return max(case.atol, 2.0**-10) if expected.dtype == np.float16 else case.atol


def _line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
