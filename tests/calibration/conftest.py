"""Small networks, data and three schemes with the properties of the real targets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgewise.calibration import (
    NumberFormat,
    QuantParams,
    Scheme,
    Statistics,
    collect_statistics,
    quantize,
)
from edgewise.data.source import Sample
from edgewise.findings import Finding
from edgewise.graph import OrtSession, prepare

Array = npt.NDArray[Any]


class Net:
    """Builds a float ONNX model node by node; every method gives the new tensor's name."""

    def __init__(self, seed: int = 0) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[Any] = []
        self.inputs: list[Any] = []
        self.constants: list[Any] = []
        self.shapes: dict[str, tuple[int | str, ...]] = {}

    def input(self, name: str, *shape: int | str) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        self.shapes[name] = shape
        return name

    def const(self, array: Any, name: str = "") -> str:
        name = name or f"const_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def op(self, kind: str, *inputs: str, name: str = "", outputs: int = 1, **attrs: Any) -> str:
        name = name or f"{kind.lower()}_{len(self.nodes)}"
        outs = [name] if outputs == 1 else [f"{name}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), outs, name=f"n_{name}", **attrs))
        return name

    def conv(
        self,
        source: str,
        cin: int,
        cout: int,
        *,
        kernel: int = 3,
        group: int = 1,
        bias: bool = True,
        name: str = "",
        **attrs: Any,
    ) -> str:
        fan = cin // group * kernel * kernel
        shape = (cout, cin // group, kernel, kernel)
        weight = self.random.normal(0, fan**-0.5, shape).astype(np.float32)
        inputs = [source, self.const(weight)]
        if bias:
            inputs.append(self.const(self.random.normal(0, 0.2, cout).astype(np.float32)))
        attrs.setdefault("pads", [kernel // 2] * 4)
        return self.op("Conv", *inputs, name=name, group=group, **attrs)

    def clip(self, source: str, low: float, high: float, name: str = "") -> str:
        limits = [self.const(np.float32(low)), self.const(np.float32(high))]
        return self.op("Clip", source, *limits, name=name)

    def model(self, *outputs: str) -> ir.Model:
        graph = helper.make_graph(
            self.nodes,
            "net",
            self.inputs,
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
            self.constants,
        )
        proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])
        proto.ir_version = 10
        return prepare(ir.from_proto(proto))


@dataclass
class Source:
    """Arrays as a data source."""

    samples: list[Mapping[str, Array]]
    description: str = "test data"
    fingerprint: str = "0" * 64
    labelled: bool = False
    class_names: tuple[str, ...] = ()
    findings: list[Finding] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.samples)

    def __iter__(self) -> Iterator[Sample]:
        for index, feeds in enumerate(self.samples):
            yield Sample(feeds, None, f"sample {index}")


def random_source(model: ir.Model, count: int = 6, seed: int = 1, spread: float = 1.0) -> Source:
    random = np.random.default_rng(seed)
    shapes = {
        value.name: [dim if isinstance(dim, int) else 1 for dim in value.shape]
        for value in model.graph.inputs
    }
    return Source(
        [
            {name: (random.normal(0, spread, s)).astype(np.float32) for name, s in shapes.items()}
            for _ in range(count)
        ]
    )


ACTIVATION = NumberFormat("int8", symmetric=False)
SYMMETRIC = NumberFormat("int8", symmetric=True)
WEIGHT = NumberFormat("int8", symmetric=True, granularity="per_channel", narrow_range=True)
SHARED = frozenset(
    {
        "AveragePool", "Concat", "Flatten", "Gather", "Identity", "Max", "MaxPool", "Min", "Pad",
        "Reshape", "Resize", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze",
    }
)  # fmt: skip
QUANTIZED = SHARED | frozenset(
    {
        "Add", "Clip", "Conv", "ConvTranspose", "Div", "Gemm", "GlobalAveragePool", "HardSwish",
        "LeakyRelu", "MatMul", "Mul", "PRelu", "ReduceMean", "Relu", "Sigmoid", "Softmax", "Sub",
        "Tanh",
    }
)  # fmt: skip
FIXED = {
    "Softmax": QuantParams(1 / 256, -128),
    "Sigmoid": QuantParams(1 / 256, -128),
    "Tanh": QuantParams(1 / 128, 0),
}
SCHEMES = {
    "android": Scheme(
        "android", "w8a8", ACTIVATION, WEIGHT, QUANTIZED, SHARED, FIXED, True, bias_required=True
    ),
    "apple": Scheme("apple", "w8a8", SYMMETRIC, WEIGHT, QUANTIZED),
    "arm": Scheme(
        "arm",
        "w8a8",
        ACTIVATION,
        WEIGHT,
        QUANTIZED - {"HardSwish"},
        SHARED - {"AveragePool", "Concat", "Max", "Min"},
        {"Softmax": FIXED["Softmax"], "Sigmoid": FIXED["Sigmoid"]},
        True,
    ),
}


@pytest.fixture
def net() -> type[Net]:
    return Net


@pytest.fixture
def source_of() -> Callable[..., Source]:
    return random_source


@pytest.fixture
def source() -> type[Source]:
    return Source


@pytest.fixture
def schemes() -> Mapping[str, Scheme]:
    return SCHEMES


@pytest.fixture(params=sorted(SCHEMES))
def scheme(request: pytest.FixtureRequest) -> Scheme:
    return SCHEMES[request.param]


@pytest.fixture
def android() -> Scheme:
    return SCHEMES["android"]


@pytest.fixture
def apple() -> Scheme:
    return SCHEMES["apple"]


@dataclass
class Trial:
    """A model, its statistics, and what quantization makes of them."""

    model: ir.Model
    source: Source
    statistics: Statistics

    def quantize(self, scheme: Scheme, **options: Any) -> ir.Model:
        return quantize(self.model, self.statistics, scheme, **options)

    def sqnr(self, quantized: ir.Model) -> float:
        """10 log10(signal / error) over all outputs and samples, in dB."""
        one, two = OrtSession(self.model), OrtSession(quantized)
        signal = error = 0.0
        for feeds in self.source.samples:
            wanted, found = one.run(feeds), two.run(feeds)
            for name, array in wanted.items():
                signal += float((array.astype(np.float64) ** 2).sum())
                error += float(((array - found[name]).astype(np.float64) ** 2).sum())
        return float(10 * np.log10(signal / max(error, 1e-30)))


@pytest.fixture(scope="session")
def net_class() -> type[Net]:
    """For tests that build a network of their own (import mode importlib)."""
    return Net


@pytest.fixture
def trial() -> Callable[..., Trial]:
    def make(model: ir.Model, **options: Any) -> Trial:
        data = random_source(model, **options)
        return Trial(model, data, collect_statistics(model, data))

    return make


def _mobile() -> ir.Model:
    """Depthwise separable residual block, ReLU6, softmax head."""
    net = Net()
    x = net.input("image", "batch", 3, 16, 16)
    stem = net.clip(net.conv(x, 3, 8, strides=[2, 2], name="stem"), 0, 6, name="stem_act")
    wide = net.clip(net.conv(stem, 8, 16, kernel=1), 0, 6)
    deep = net.clip(net.conv(wide, 16, 16, group=16), 0, 6)
    thin = net.conv(deep, 16, 8, kernel=1)
    merged = net.op("Add", stem, thin, name="merged")
    pooled = net.op("GlobalAveragePool", merged)
    flat = net.op("Flatten", pooled)
    weight = net.const(net.random.normal(0, 0.5, (10, 8)).astype(np.float32))
    logits = net.op("Gemm", flat, weight, net.const(np.zeros(10, np.float32)), transB=1)
    return net.model(net.op("Softmax", logits, name="scores", axis=-1))


def _branches() -> ir.Model:
    """Concat of a sigmoid branch, a tanh branch and a linear one, then pad, pool, resize."""
    net = Net(1)
    x = net.input("image", 1, 4, 8, 8)
    gate = net.op("Sigmoid", net.conv(x, 4, 4), name="gate")
    cell = net.op("Tanh", net.conv(x, 4, 4), name="cell")
    line = net.conv(x, 4, 4, bias=False, name="line")
    joined = net.op("Concat", gate, cell, line, name="joined", axis=1)
    pads = net.const(np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64))
    padded = net.op("Pad", joined, pads, net.const(np.float32(0.0)), name="padded")
    pooled = net.op("MaxPool", padded, name="pooled", kernel_shape=[2, 2], strides=[2, 2])
    scales = net.const(np.array([1, 1, 2, 2], np.float32))
    bigger = net.op("Resize", pooled, "", scales, name="bigger", mode="nearest")
    return net.model(net.conv(bigger, 12, 4, name="out"))


def _several_readers() -> ir.Model:
    """A convolution read by Relu and Add, a hard swish, scalar and vector constants."""
    net = Net(2)
    x = net.input("image", 1, 4, 8, 8)
    shared = net.conv(x, 4, 8, name="shared")
    act = net.op("Relu", shared, name="act")
    total = net.op("Add", act, shared, name="total")
    swished = net.op("HardSwish", total)
    scaled = net.op("Mul", swished, net.const(np.float32(0.5)))
    vector = net.const(np.linspace(-1, 1, 8, dtype=np.float32).reshape(8, 1, 1))
    shifted = net.op("Add", scaled, vector)
    mean = net.op("ReduceMean", shifted, net.const(np.array([2, 3], np.int64)), keepdims=0)
    weight = net.const(net.random.normal(0, 0.5, (8, 5)).astype(np.float32))
    return net.model(net.op("MatMul", mean, weight, name="product"))


def _decoder() -> ir.Model:
    """Transposed convolution with and without groups, split, transpose, PRelu, leaky ReLU."""
    net = Net(3)
    x = net.input("image", 1, 8, 6, 6)
    halves = net.op("Split", x, name="half", outputs=2, axis=1, num_outputs=2)
    weight = net.const(net.random.normal(0, 0.3, (4, 6, 2, 2)).astype(np.float32))
    up = net.op("ConvTranspose", f"{halves}_0", weight, name="up", strides=[2, 2])
    grouped = net.const(net.random.normal(0, 0.3, (4, 3, 2, 2)).astype(np.float32))
    bias = net.const(net.random.normal(0, 0.1, 6).astype(np.float32))
    other = net.op(
        "ConvTranspose", f"{halves}_1", grouped, bias, name="grouped", strides=[2, 2], group=2
    )
    leaky = net.op("LeakyRelu", up, alpha=0.1)
    slope = net.const(np.full((6, 1, 1), 0.25, np.float32))
    total = net.op("Add", leaky, net.op("PRelu", other, slope), name="total")
    return net.model(net.op("Transpose", total, name="moved", perm=[0, 2, 3, 1]))


MODELS: Mapping[str, Callable[[], ir.Model]] = {
    "mobile": _mobile,
    "branches": _branches,
    "several_readers": _several_readers,
    "decoder": _decoder,
}


@pytest.fixture(params=sorted(MODELS))
def model(request: pytest.FixtureRequest) -> ir.Model:
    return MODELS[request.param]()


@pytest.fixture
def models() -> Mapping[str, Callable[[], ir.Model]]:
    return MODELS
