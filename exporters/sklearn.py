"""scikit-learn to ONNX through skl2onnx: estimators and pipelines of them.

The input is `input`, float32, one row of `n_features_in_` numbers per example; the number of
rows stays free by the name `batch` unless a shape is given. Classifiers give `probabilities`
(a tensor, no dictionary; scores for those that have no probabilities), and `label`; their classes
are the labels, and where these are texts, `label` is the index of one: devices have no tensors of
texts. What else a pipeline gives is called as skl2onnx calls it, `variable` for the most part.

Pickles (`.joblib`, `.pkl`, `.pickle`) are programs: loading one runs what its maker wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from edgewise.errors import ModelError, UsageError
from edgewise.exporters.extras import import_extra
from edgewise.exporters.opened import Array, OpenedModel, Runner, Shapes, SourceOptions
from edgewise.exporters.quiet import quiet
from edgewise.references import describe

_NEEDED_FOR = "scikit-learn models"
_INPUT = "input"
#: the newest that skl2onnx writes well; its own ai.onnx.ml operators have one version each here
_OPSETS = {"": 18, "ai.onnx.ml": 3}
#: by name of output, what the estimator calls it
_METHODS = {"label": "predict", "probabilities": "predict_proba"}


def open_pickle(path: Path, options: SourceOptions) -> OpenedModel:
    """Load a pickled estimator, which needs `options.allow_code`.

    Raises:
        UsageError: scikit-learn or skl2onnx is missing.
        ModelError: code is not allowed, or the file holds something else.
    """
    if not options.allow_code:
        raise ModelError(
            "pickles are not read",
            where=str(path),
            why="loading one runs whatever code it holds",
            remedy="Give --allow-code ([model] allow_code = true) if you trust who made it, or "
            "name a function that gives the model (package.module:factory).",
        )
    import_extra("sklearn", needed_for=_NEEDED_FOR)
    joblib = import_extra("joblib", needed_for=_NEEDED_FOR)
    try:
        with quiet():
            found = joblib.load(path)
    except Exception as error:  # a pickle may raise anything
        raise ModelError(
            "cannot load the pickle",
            where=str(path),
            why=describe(error),
            remedy="Save it again with joblib.dump and the installed scikit-learn.",
        ) from error
    return open_estimator(found, options, str(path))


def open_estimator(estimator: object, options: SourceOptions, where: str) -> OpenedModel:
    """Convert a fitted estimator or pipeline, which is not changed.

    Raises:
        UsageError: skl2onnx is missing, or a shape does not fit.
        ModelError: it is no estimator, is not fitted, or skl2onnx cannot convert it.
    """
    base = import_extra("sklearn.base", needed_for=_NEEDED_FOR)
    skl2onnx = import_extra("skl2onnx", needed_for=_NEEDED_FOR)
    if not isinstance(estimator, base.BaseEstimator):
        raise ModelError(
            "is no scikit-learn estimator", where=where, why=f"found {type(estimator).__name__}"
        )
    rows, features = _shape(estimator, options.input_shapes, where)
    model = _converted(skl2onnx, estimator, rows, features, where)
    ranks = {
        str(value.name): None if value.shape is None else len(value.shape)
        for value in model.graph.outputs
    }
    classes = _texts(estimator)
    return OpenedModel(
        "sklearn",
        model,
        lambda: _runner(estimator, ranks, classes),
        exporter=f"skl2onnx {skl2onnx.__version__}",
        labels=_labels(estimator),
    )


def _converted(
    skl2onnx: Any, estimator: Any, rows: int | str, features: int, where: str
) -> ir.Model:
    types = import_extra("skl2onnx.common.data_types", needed_for=_NEEDED_FOR)
    shape = [rows if isinstance(rows, int) else None, features]
    last = id(_last_step(estimator))

    def convert(choice: Mapping[str, bool]) -> Any:
        with quiet():
            return skl2onnx.to_onnx(
                estimator,
                initial_types=[(_INPUT, types.FloatTensorType(shape))],
                options={last: choice} if choice else None,
                target_opset=_OPSETS,
            )

    try:
        for choice in _choices(estimator):
            try:
                model: ir.Model = ir.from_proto(convert(choice))
                break
            except NameError:  # a choice that the converter does not have
                if not choice:
                    raise
    except Exception as error:  # converters raise what their authors chose
        raise ModelError(
            "skl2onnx cannot convert the model",
            where=where,
            why=describe(error),
            remedy="Write it with estimators that skl2onnx knows, or take a step of the pipeline.",
        ) from error
    for value in model.graph.inputs:
        value.shape = ir.Shape([rows, features])
    if (texts := _texts(estimator)) is not None:
        _count_classes(model, texts)
    _put_scores_first(model)
    for value in model.graph.outputs:
        if value.shape is not None and len(value.shape) and not isinstance(rows, int):
            value.shape = ir.Shape([rows, *list(value.shape)[1:]])
    return model


def _choices(estimator: Any) -> Iterator[dict[str, bool]]:
    """What the last step may be asked for: no dictionaries of probabilities, and indices for
    classes that are texts. Not every converter has either choice; skl2onnx refuses others by
    name, before it does any work."""
    wanted = {"zipmap": False, **({"nocl": True} if _texts(estimator) is not None else {})}
    for count in range(len(wanted), -1, -1):
        for names in combinations(wanted, count):
            yield {name: wanted[name] for name in names}


def _count_classes(model: ir.Model, texts: Array) -> None:
    """Some converters take texts from a table all the same: it holds their indices then."""
    for value in model.graph.initializers.values():
        table = value.const_value
        if table is not None and table.dtype == ir.DataType.STRING:
            found = [text.decode() for text in table.numpy().reshape(-1)]
            if found == [str(text) for text in texts]:
                counted = np.arange(len(found), dtype=np.int64).reshape(table.shape.numpy())
                value.const_value = ir.tensor(counted, name=value.name)
                value.dtype = ir.DataType.INT64
    for value in model.graph.outputs:
        if value.dtype == ir.DataType.STRING:
            value.dtype = ir.DataType.INT64


def _put_scores_first(model: ir.Model) -> None:
    """Metrics, and the labels of an application, are about the first output."""
    model.graph.outputs[:] = sorted(model.graph.outputs, key=lambda value: value.name == "label")


def _last_step(estimator: Any) -> Any:
    while hasattr(estimator, "steps"):
        estimator = estimator.steps[-1][1]
    return estimator


def _shape(estimator: Any, wanted: Shapes, where: str) -> tuple[int | str, int]:
    features = getattr(estimator, "n_features_in_", None)
    if features is None:
        raise ModelError(
            "is not fitted", where=where, why="it has no n_features_in_", remedy="Call fit first."
        )
    if not wanted:
        return "batch", int(features)
    if list(wanted) != [_INPUT]:
        name = next(name for name in wanted if name != _INPUT)
        raise UsageError(
            f"the model has no input '{name}'", where=where, why=f"its input is {_INPUT}"
        )
    shape = wanted[_INPUT]
    if len(shape) != 2 or shape[1] != features:
        raise UsageError(
            f"input '{_INPUT}' cannot have the shape [{', '.join(map(str, shape))}]",
            where=where,
            why=f"the model takes rows of {features} numbers",
            remedy=f"Give {_INPUT}=1,{features}, or {_INPUT}=batch,{features}.",
        )
    return shape[0], int(features)


def _classes(estimator: Any) -> Array | None:
    """The classes of a classifier of one output."""
    found = getattr(estimator, "classes_", None)
    return found if isinstance(found, np.ndarray) and found.ndim == 1 else None


def _texts(estimator: Any) -> Array | None:
    """The classes where they are texts."""
    found = _classes(estimator)
    return found if found is not None and found.dtype.kind in "OUS" else None


def _labels(estimator: Any) -> tuple[str, ...]:
    found = _classes(estimator)
    return () if found is None else tuple(str(name) for name in found)


def _runner(estimator: Any, ranks: Mapping[str, int | None], classes: Array | None) -> Runner:
    """What scikit-learn gives for each output of the ONNX model, by name with its rank."""

    def one(name: str, rows: Array) -> Array:
        method = _METHODS.get(name)
        if name == "scores":  # of outliers, or distances from the centers of clusters
            ways = ("decision_function", "transform")
            method = next((way for way in ways if hasattr(estimator, way)), None)
        if name == "probabilities" and not hasattr(estimator, "predict_proba"):
            scores = np.asarray(_called(estimator.decision_function, rows), np.float32)
            return scores.reshape(len(scores), -1)  # of two classes: of the second alone
        if method is None:
            method = "predict" if hasattr(estimator, "predict") else "transform"
        found = np.asarray(_called(getattr(estimator, method), rows))
        if classes is not None and name == "label":
            return np.searchsorted(classes, found).astype(np.int64)
        if found.ndim == 1 and ranks[name] == 2:  # of regressors, ONNX has a column for each value
            found = found[:, None]
        return found.astype(np.float32) if found.dtype.kind == "f" else found

    def run(feeds: Mapping[str, Array]) -> list[Array]:
        with quiet():
            return [one(name, feeds[_INPUT]) for name in ranks]

    return run


def _called(method: Callable[[Array], Any], rows: Array) -> Any:
    """Of float32 rows; of float64 ones where compiled code takes only the type of the fit."""
    try:
        return method(rows)
    except ValueError:
        return method(rows.astype(np.float64))
