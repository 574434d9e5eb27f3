"""What a hub model says of itself survives stages that are run by hand."""

from __future__ import annotations

import onnx
import onnx_ir as ir
import pytest

from edgewise.data.image import ImagePreprocessing
from edgewise.data.notes import Notes, attach, drop, notes_of
from edgewise.errors import ModelError
from edgewise.graph import prepare

IMAGE = ImagePreprocessing(resize=(8, 9), crop=4, mean=(1.5, 2, 3), resample="bicubic")


@pytest.fixture
def model() -> ir.Model:
    text = '<ir_version: 10, opset_import: ["": 21]>\ng (float[1,3,4,4] x) => (float[1,3,4,4] y) '
    return ir.from_proto(onnx.parser.parse_model(text + "{ y = Relu(x) }"))


def test_notes_are_read_back_also_after_preparing(model: ir.Model) -> None:
    assert notes_of(model) == Notes()
    attach(model, IMAGE, ("näher", "weiter"))
    assert notes_of(model) == notes_of(prepare(model)) == Notes(IMAGE, ("näher", "weiter"))
    attach(model, None, ())
    assert notes_of(model) == Notes()


def test_other_metadata_stay(model: ir.Model) -> None:
    model.metadata_props["author"] = "Ana"
    attach(model, IMAGE, ("a",))
    drop(model)
    assert dict(model.metadata_props) == {"author": "Ana"}


@pytest.mark.parametrize("text", ["{", '{"kind": "smell"}', '{"kind": "image", "mean": 1}', "[]"])
def test_notes_that_were_changed_by_hand(model: ir.Model, text: str) -> None:
    model.metadata_props["edgewise.preprocessing"] = text
    with pytest.raises(ModelError, match="cannot read what the model says"):
        notes_of(model)
