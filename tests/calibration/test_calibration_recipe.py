"""A recipe is a value: its text form has what differs from the default, and its key follows it."""

from __future__ import annotations

import json

from edgewise.calibration import Recipe


def test_the_text_form_leaves_defaults_out():
    assert Recipe().as_dict() == {}
    recipe = Recipe(method="mse", float_nodes=frozenset({"b", "a"}), clipped={"x": (-1.0, 2.0)})
    assert recipe.as_dict() == {
        "method": "mse",
        "float_nodes": ["a", "b"],
        "clipped": {"x": [-1.0, 2.0]},
    }
    json.dumps(recipe.as_dict())


def test_equal_recipes_have_equal_keys_and_others_do_not():
    one, same = (Recipe(float_nodes=frozenset(names)) for names in (("a", "b"), ("b", "a")))
    assert one.key == same.key
    others = [
        Recipe(),
        Recipe(method="percentile"),
        Recipe(percentile=99.9),
        Recipe(weights="mse"),
        Recipe(repairs=("equalize",)),
        Recipe(wide_nodes=frozenset({"a", "b"})),
        Recipe(clipped={"a": (0.0, 1.0)}),
    ]
    assert len({one.key, *(other.key for other in others)}) == len(others) + 1
