"""Where the inputs that a module is traced with come from, and which are tried."""

from __future__ import annotations

import numpy as np
import pytest

from edgewise.errors import ModelError, UsageError
from edgewise.exporters.opened import SourceOptions
from edgewise.exporters.pytorch.inputs import settle_inputs
from edgewise.exporters.quiet import quiet

with quiet():
    torch = pytest.importorskip("torch")
    from torch import nn
    from torch.nn import functional


class Bag(nn.Module):
    """Means of embeddings under a mask: one input of indices and one of floats."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(50, 8)

    def forward(self, ids, mask):
        return (self.table(ids) * mask.unsqueeze(-1)).sum(1)


class Picture(nn.Module):
    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 4, 3, 2, 1)

    def forward(self, image, flag=None):
        return self.conv(image).mean((2, 3))


class Rows(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(12, 7), nn.Linear(7, 3)

    def forward(self, features):
        return self.second(functional.relu(self.first(features)))


def settled(module, **options):
    return settle_inputs(module, SourceOptions(**options), "nets:Net")


def shapes(inputs) -> dict:
    return {name: array.shape for name, array in inputs.arrays.items()}


def test_free_dimensions_get_sizes_that_are_not_special():
    inputs = settled(Picture(), input_shapes={"image": ("n", 3, "height", "width")})
    assert shapes(inputs) == {"image": (2, 3, 64, 64)}
    assert inputs.free == {"image": {0: "n", 2: "height", 3: "width"}}
    assert inputs.by_name and inputs.results.shape == (2, 4)


def test_types_are_tried_until_forward_takes_them():
    inputs = settled(Bag(), input_shapes={"mask": ("n", "t"), "ids": ("n", "t")})
    assert {array.dtype for array in inputs.arrays.values()} == {np.dtype(np.int64)}
    assert list(inputs.arrays) == ["ids", "mask"] and len(set(shapes(inputs).values())) == 1


def test_examples_give_types_and_sizes():
    example = {"ids": np.array([[4, 5, 6]]), "mask": np.ones((1, 3)), "label": np.array([1])}
    inputs = settled(Bag(), example=example)
    assert shapes(inputs) == {"ids": (1, 3), "mask": (1, 3)}
    assert [a.dtype for a in inputs.arrays.values()] == [np.int64, np.float32]
    inputs = settled(Bag(), example=example, input_shapes={"ids": ("n", "t"), "mask": ("n", "t")})
    assert shapes(inputs) == {"ids": (2, 3), "mask": (2, 3)}
    assert inputs.arrays["ids"].dtype == np.int64


@pytest.mark.parametrize(
    ("module", "example", "shape"),
    [
        (Picture(), {"": np.zeros((1, 3, 9, 9), np.float32)}, (1, 3, 9, 9)),
        (Picture(), {"image": np.zeros((1, 3, 9, 9), np.uint8)}, (1, 3, 9, 9)),
        (Picture(1), {"image": np.zeros((1, 9, 9), np.float32)}, (1, 1, 9, 9)),
        (Rows(), {"features": np.zeros((1, 12), np.float64)}, (1, 12)),
    ],
    ids=["unnamed picture", "stored as bytes", "one channel without batch", "doubles"],
)
def test_examples_of_data(module, example, shape):
    (array,) = settled(module, example=example).arrays.values()
    assert array.shape == shape and array.dtype == np.float32


@pytest.mark.parametrize("attribute", ["example_input_array", "example_inputs", "dummy_inputs"])
@pytest.mark.parametrize("form", [lambda x: x, lambda x: (x,), lambda x: {"image": x}])
def test_attributes_with_examples(attribute, form):
    module = Picture()
    setattr(module, attribute, form(torch.zeros(4, 3, 10, 12)))
    assert shapes(settled(module)) == {"image": (1, 3, 10, 12)}


def test_a_linear_layer_that_reads_the_only_input_tells_its_shape():
    inputs = settled(Rows())
    assert shapes(inputs) == {"features": (1, 12)}
    (finding,) = inputs.findings
    assert finding.rule == "export/inferred-shape" and "features=1,12" in finding.message


@pytest.mark.parametrize(
    "module",
    [Picture(), Bag(), nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), nn.Embedding(5, 3)],
    ids=["any size", "two inputs", "flattened first", "any number"],
)
def test_what_is_not_certain_is_not_inferred(module):
    with pytest.raises(UsageError, match=r"not known: forward takes .*--input-shape"):
        settled(module)


def test_data_with_other_names_say_so():
    with pytest.raises(UsageError, match="forward takes image, flag, and the data hold 'x', 'z'"):
        settled(Picture(), example={"x": np.zeros((1, 3, 4, 4)), "z": np.zeros(1)})


def test_forward_that_fails_with_everything():
    with pytest.raises(ModelError, match=r"forward failed.*to have 3 channels, but got 4"):
        settled(Picture(), input_shapes={"image": (1, 4, 8, 8)})


def test_forward_without_inputs():
    class Constant(nn.Module):
        def forward(self):
            return torch.ones(3)

    with quiet():
        scripted = torch.jit.script(Constant())
    for module in (Constant(), scripted):
        with pytest.raises(ModelError, match=r"takes no input.*def forward\(self, x\)"):
            settle_inputs(module, SourceOptions(), "net")
