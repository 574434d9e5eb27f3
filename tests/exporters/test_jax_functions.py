"""JAX functions, Flax NNX and Equinox modules."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgewise.errors import ModelError, UsageError
from edgewise.exporters import ExportResult, SourceOptions, export
from edgewise.graph import OrtSession

pytest.importorskip("jax2onnx")
jax = pytest.importorskip("jax")
pytestmark = pytest.mark.filterwarnings("ignore")
WEIGHTS = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
NETS = """
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

class Net(nnx.Module):
    def __init__(self, rngs):
        self.convolution = nnx.Conv(3, 8, (3, 3), strides=2, rngs=rngs)
        self.norm = nnx.BatchNorm(8, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.classifier = nnx.Linear(8, 10, rngs=rngs)

    def __call__(self, image):
        x = nnx.relu(self.norm(self.convolution(image)))
        return {"scores": self.classifier(self.dropout(x.mean((1, 2))))}

def create():
    return Net(nnx.Rngs(0))

create.input_shapes = {"image": (1, 16, 16, 3)}

def calibration():
    rng = np.random.default_rng(1)
    for _ in range(8):
        yield {"image": rng.standard_normal((1, 16, 16, 3)).astype(np.float32)}
"""


@pytest.fixture(scope="module")
def nets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("flax")
    path: Path = tmp_path_factory.mktemp("jax") / "jax_nets.py"
    path.write_text(NETS)
    return path


@pytest.fixture(scope="module")
def net(nets: Path) -> ExportResult:
    return export(f"{nets}:create")


def test_a_flax_network_in_evaluation(net: ExportResult) -> None:
    assert net.source_kind == "jax"
    assert net.exporter.startswith("jax2onnx ")
    assert net.parity.max_rel_error is not None
    assert net.parity.max_rel_error < 1e-5
    ops = Counter(node.op_type for node in net.model.graph)
    assert ops == {"Transpose": 1, "Conv": 1, "Relu": 1, "ReduceMean": 1, "Gemm": 1}
    (taken,), (given,) = net.model.graph.inputs, net.model.graph.outputs
    assert (taken.name, [str(n) for n in taken.shape]) == ("image", ["1", "16", "16", "3"])
    assert given.name == "scores"


def test_the_module_is_not_changed(nets: Path, net: ExportResult) -> None:
    from jax_nets import create

    module = create()
    export(module, input_shapes={"image": (1, 16, 16, 3)})
    assert module.dropout.deterministic is False
    assert module.norm.use_running_average is False


@pytest.mark.slow
def test_all_three_targets(net: ExportResult, nets: Path, tmp_path: Path) -> None:
    from edgewise import build

    result = build(
        net.model,
        calibration=f"{nets}:calibration",
        evaluation=f"{nets}:calibration",
        metric="none",
        out=tmp_path / "dist",
    )
    assert {one.target for one in result.report.targets.values()} == {"android", "apple", "arm"}


@pytest.fixture(scope="module")
def function() -> ExportResult:
    @jax.jit
    def scores(x: Any, y: Any) -> Any:
        return {"high": jax.nn.softmax(jax.numpy.tanh(x @ WEIGHTS) + y), "all": (x.sum(-1), y * 2)}

    return export(scores, input_shapes={"x": ("batch", 5), "y": ("batch", 3)})


def test_names_and_free_sizes(function: ExportResult) -> None:
    graph = function.model.graph
    assert [(v.name, [str(n) for n in v.shape]) for v in graph.inputs] == [
        ("x", ["batch", "5"]),
        ("y", ["batch", "3"]),
    ]
    assert [v.name for v in graph.outputs] == ["all.0", "all.1", "high"]
    assert [str(n) for n in graph.outputs[2].shape] == ["batch", "3"]
    assert function.parity.max_rel_error is not None
    assert function.parity.max_rel_error < 1e-5


def test_numbers(function: ExportResult) -> None:
    x, y = np.float32([[1, 2, 3, 4, 5]]), np.float32([[0.1, 0.2, 0.3]])
    found = OrtSession(function.model).run({"x": x, "y": y})
    wanted = jax.nn.softmax(np.tanh(x @ WEIGHTS) + y)
    np.testing.assert_allclose(found["high"], wanted, rtol=1e-5)
    np.testing.assert_allclose(found["all.0"], [15.0])


def test_an_equinox_module() -> None:
    equinox = pytest.importorskip("equinox")
    mlp = equinox.nn.MLP(4, 3, 8, 1, key=jax.random.PRNGKey(0))
    result = export(mlp, input_shapes={"x": (4,)})
    x = np.float32([1, 2, 3, 4])
    (found,) = OrtSession(result.model).run({"x": x}).values()
    np.testing.assert_allclose(found, mlp(x), rtol=1e-5, atol=1e-6)


def test_a_plain_function_of_a_factory(tmp_path: Path) -> None:
    path = tmp_path / "plain_jax.py"
    path.write_text(
        "import jax\n"
        "def model():\n    return lambda x: jax.nn.relu(x)\n"
        "model.input_shapes = {'x': (2, 3)}\n"
    )
    assert [n.op_type for n in export(f"{path}:model").model.graph] == ["Relu"]


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({}, r"shapes of the inputs are not known: the function takes x, y"),
        ({"z": (1,)}, r"no input 'z'.*takes x, y"),
        ({"x": (1, 5)}, r"shape of input 'y' is not given"),
    ],
)
def test_shapes_that_are_missing(shapes: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        export(jax.jit(lambda x, y: x + y), options=SourceOptions(input_shapes=shapes))


def test_a_function_that_fails() -> None:
    with pytest.raises(ModelError, match="the function failed") as caught:
        export(jax.jit(lambda x: x @ WEIGHTS), input_shapes={"x": (1, 4)})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("shapes", [{}, {"inputs": (1, 4)}])
def test_a_linen_module_holds_no_parameters(shapes: Any) -> None:
    linen = pytest.importorskip("flax.linen")
    with pytest.raises(ModelError, match=r"Linen modules hold no parameters.*jitted function"):
        export(linen.Dense(3), input_shapes=shapes)


def test_what_jax2onnx_does_not_know() -> None:
    with pytest.raises(ModelError, match=r"jax2onnx cannot convert the function.*svd") as caught:
        export(jax.jit(lambda x: jax.numpy.linalg.svd(x)), input_shapes={"x": (3, 3)})
    assert "\n" not in str(caught.value)


def test_a_graph_that_was_written_wrongly_is_no_defect_of_a_pass() -> None:
    with pytest.raises(ModelError, match=r"can never run.*node_Cast_0.*complex64") as caught:
        export(lambda x: jax.numpy.abs(jax.numpy.fft.fft(x)), input_shapes={"x": (1, 16)})
    assert "as jax2onnx" in str(caught.value) and "\n" not in str(caught.value)
