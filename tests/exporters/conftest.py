"""Rewriting a model and comparing it with what it was."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from edgewise.data import input_specs
from edgewise.exporters.comparison import compare
from edgewise.exporters.passes import PASSES, Declined
from edgewise.exporters.pipeline import Signature, tidy, verify
from edgewise.exporters.trial_inputs import random_feeds
from edgewise.graph import OrtSession, prepare


@dataclass
class Rewritten:
    model: ir.Model
    modified: bool
    declined: tuple[Declined, ...]

    @property
    def ops(self) -> dict[str, int]:
        return dict(Counter(node.op_type for node in self.model.graph))


@pytest.fixture
def parse() -> Callable[..., ir.Model]:
    """A model from the body of a graph in ONNX text, with named constants."""

    def build(text: str, opset: int = 21, **constants: np.ndarray) -> ir.Model:
        proto = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["": {opset}]>\n{text}')
        for name, array in constants.items():
            proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
        return ir.from_proto(proto)

    return build


@pytest.fixture
def rewrite() -> Callable[..., Rewritten]:
    """Runs one pass on a prepared copy and compares the results on random inputs."""

    def run(model: ir.Model, name: str, *, tolerance: float = 1e-6) -> Rewritten:
        before = prepare(model)
        after = prepare(model)
        signature = Signature.of(after)
        outcome = PASSES[name](after)
        assert outcome.model is after
        if outcome.modified:
            tidy(after)
        verify(after, signature, [name])
        again = PASSES[name](after)
        assert not again.modified, "a second run must find nothing"
        old, new = OrtSession(before), OrtSession(after)
        for feeds in random_feeds(input_specs(before), 3):
            feeds = {k: v * 6 if v.dtype.kind == "f" else v for k, v in feeds.items()}
            expected, found = old.run(feeds), new.run(feeds)
            assert list(expected) == list(found)
            for key in expected:
                assert compare(expected[key], found[key])[1] <= tolerance
        return Rewritten(after, outcome.modified, outcome.declined)

    return run


@pytest.fixture
def digits() -> Path:
    import edgewise.sample_models.digits as package

    return Path(package.__file__).parent
