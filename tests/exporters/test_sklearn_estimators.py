"""scikit-learn estimators: the hub model gives what they predict."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgewise.errors import ModelError, UsageError
from edgewise.exporters import SourceOptions, export
from edgewise.graph import OrtSession

pytest.importorskip("skl2onnx")
from sklearn.cluster import KMeans
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, Normalizer, StandardScaler
from sklearn.svm import SVC, LinearSVC, OneClassSVM

X, Y = load_iris(return_X_y=True)
X = X.astype(np.float32)
NAMES = np.array(["setosa", "versicolor", "virginica"])


def fitted(estimator: Any, targets: Any = Y) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few steps of training, on purpose
        return estimator.fit(X, targets)


def perceptron() -> MLPClassifier:
    return MLPClassifier((8,), max_iter=200, random_state=0)


CLASSIFIERS = {
    "logistic": make_pipeline(StandardScaler(), LogisticRegression()),
    "perceptron": make_pipeline(MinMaxScaler(), perceptron()),
    "components": make_pipeline(StandardScaler(), PCA(2), LogisticRegression()),
    "normalized": make_pipeline(Normalizer(), LogisticRegression()),
    "normalized by sum": make_pipeline(Normalizer("l1"), LogisticRegression()),
    "support vectors": LinearSVC(),
}
KINDS = {"three": Y, "two": (Y > 0).astype(int), "texts": NAMES[Y], "numbers": Y * 3 + 7}


def ran(result: Any, rows: Any) -> dict[str, Any]:
    return OrtSession(result.model).run({"input": rows})


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize("kind", KINDS)
def test_linear_classifiers_are_standard_operators(name: str, kind: str) -> None:
    estimator = fitted(CLASSIFIERS[name], KINDS[kind])
    result = export(estimator)
    assert result.source_kind == "sklearn"
    assert result.exporter.startswith("skl2onnx ")
    assert {node.domain for node in result.model.graph} == {""}
    found = ran(result, X)
    assert list(found)[-1] == "label"
    if hasattr(estimator, "predict_proba"):
        np.testing.assert_allclose(
            found["probabilities"], estimator.predict_proba(X), rtol=1e-4, atol=1e-5
        )
    wanted = estimator.predict(X)
    if kind == "texts":
        np.testing.assert_array_equal(NAMES[found["label"]], wanted)
    else:
        np.testing.assert_array_equal(found["label"], wanted)
    assert result.labels == tuple(str(one) for one in estimator.classes_)


def test_the_number_of_rows_stays_free_or_is_fixed() -> None:
    estimator = fitted(CLASSIFIERS["logistic"])

    def sizes(**shapes: Any) -> list[list[str]]:
        graph = export(estimator, **shapes).model.graph
        return [[str(dim) for dim in value.shape] for value in (*graph.inputs, *graph.outputs)]

    assert sizes() == [["batch", "4"], ["batch", "3"], ["batch"]]
    assert sizes(input_shapes={"input": ("rows", 4)}) == [["rows", "4"], ["rows", "3"], ["rows"]]
    assert sizes(input_shapes={"input": (1, 4)}) == [["1", "4"], ["1", "3"], ["1"]]


@pytest.mark.parametrize(
    "estimator",
    [LinearRegression(), MLPRegressor(hidden_layer_sizes=(8,), max_iter=50), StandardScaler()],
    ids=lambda one: type(one).__name__,
)
def test_regressors_and_transformers(estimator: Any) -> None:
    fitted(estimator)
    result = export(estimator)
    (found,) = ran(result, X).values()
    run = estimator.predict if hasattr(estimator, "predict") else estimator.transform
    np.testing.assert_allclose(found, run(X).reshape(found.shape), rtol=1e-4, atol=1e-5)
    assert {node.domain for node in result.model.graph} == {""}


@pytest.mark.parametrize(
    "estimator",
    [RandomForestClassifier(3, random_state=0), SVC()],
    ids=lambda one: type(one).__name__,
)
def test_trees_and_kernels_keep_their_operators(estimator: Any) -> None:
    """ONNX Runtime computes them; targets without ai.onnx.ml refuse them."""
    result = export(fitted(estimator))
    assert result.parity.max_rel_error is not None
    assert "ai.onnx.ml" in {node.domain for node in result.model.graph}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_estimators_that_take_the_type_they_were_fitted_with(dtype: Any) -> None:
    """Centers of clusters are compared with rows in C, which refuses another type."""
    estimator = KMeans(3, n_init=1, random_state=0).fit(X.astype(dtype))
    result = export(estimator)
    assert result.parity.max_rel_error is not None and result.parity.max_rel_error < 1e-4
    found = ran(result, X)
    np.testing.assert_array_equal(found["label"], estimator.predict(X.astype(dtype)))
    np.testing.assert_allclose(found["scores"], estimator.transform(X.astype(dtype)), atol=1e-3)


def test_scores_of_outliers() -> None:
    estimator = fitted(OneClassSVM(nu=0.2))
    result = export(estimator)
    assert result.parity.max_rel_error is not None and result.parity.max_rel_error < 1e-4
    found = ran(result, X)
    np.testing.assert_array_equal(found["label"].ravel(), estimator.predict(X))
    np.testing.assert_allclose(found["scores"].ravel(), estimator.decision_function(X), atol=1e-4)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"x": (1, 4)}, "no input 'x': its input is input"),
        ({"input": (1, 5)}, r"cannot have the shape \[1, 5\].*rows of 4 numbers"),
        ({"input": (4,)}, r"cannot have the shape \[4\]"),
    ],
)
def test_shapes_that_do_not_fit(shapes: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        export(fitted(LogisticRegression(max_iter=500)), input_shapes=shapes)


def test_what_was_not_fitted() -> None:
    with pytest.raises(ModelError, match=r"is not fitted.*Call fit first"):
        export(LogisticRegression())


def test_what_skl2onnx_does_not_know() -> None:
    from sklearn.preprocessing import SplineTransformer

    with pytest.raises(ModelError, match="skl2onnx cannot convert the model") as caught:
        export(fitted(SplineTransformer()))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".joblib", ".pkl"])
def test_pickles_need_permission(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_bytes(pickle.dumps(fitted(CLASSIFIERS["logistic"])))
    with pytest.raises(ModelError, match=r"runs whatever code it holds.*--allow-code"):
        export(path)
    result = export(path, options=SourceOptions(allow_code=True))
    assert result.source_kind == "sklearn"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no pickle", "cannot load the pickle"),
        (pickle.dumps({"a": 1}), "is no scikit-learn estimator: found dict"),
    ],
)
def test_pickles_of_something_else(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=message):
        export(path, options=SourceOptions(allow_code=True))
