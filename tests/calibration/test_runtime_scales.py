"""The model whose scales are inputs computes what the QDQ model does, for any ranges."""

from __future__ import annotations

import numpy as np

from edgewise.calibration.parameters import affine_parameters
from edgewise.calibration.quantize import quantize_with_findings
from edgewise.calibration.ranges import Range
from edgewise.calibration.recipe import PLAIN, Recipe
from edgewise.calibration.runtime_scales import with_runtime_scales
from edgewise.graph import OrtSession


def test_it_is_the_qdq_model(model, scheme, trial):
    case = trial(model, count=2)
    qdq = case.quantize(scheme)
    adjustable = with_runtime_scales(qdq, scheme)
    assert adjustable.groups
    one, two = OrtSession(qdq), OrtSession(adjustable.model)
    for feeds in case.source.samples:
        wanted, found = one.run(feeds), two.run({**feeds, **adjustable.feeds()})
        for name, array in wanted.items():
            assert np.array_equal(array, found[name])


def test_other_scales_are_those_of_a_clipped_recipe(models, schemes, trial):
    case, scheme = trial(models["mobile"](), count=2), schemes["android"]
    adjustable = with_runtime_scales(case.quantize(scheme), scheme)
    (group,) = (group for group in adjustable.groups if "merged" in group.tensors)
    recipe = Recipe(clipped=dict.fromkeys(group.tensors, (-0.5, 0.4)))
    clipped = quantize_with_findings(case.model, case.statistics, scheme, recipe).model
    changed = group.feeds(affine_parameters(Range(-0.5, 0.4), scheme.activation))
    one, two = OrtSession(clipped), OrtSession(adjustable.model)
    for feeds in case.source.samples:
        wanted = one.run(feeds)["scores"]
        found = two.run({**feeds, **adjustable.feeds(), **changed})["scores"]
        assert np.array_equal(wanted, found)
        assert not np.array_equal(wanted, two.run({**feeds, **adjustable.feeds()})["scores"])


def test_groups_are_what_shares_a_scale(models, schemes, trial):
    case, scheme = trial(models["mobile"](), count=2), schemes["android"]
    qdq = quantize_with_findings(case.model, case.statistics, scheme, PLAIN).model
    adjustable = with_runtime_scales(qdq, scheme)
    groups = [set(group.tensors) for group in adjustable.groups]
    assert sum(len(group) for group in groups) == len(set().union(*groups))
    (flat,) = (group for group in groups if any("flatten" in name for name in group))
    assert len(flat) == 2  # what it reads and what it writes
    assert {"image"} in groups and {"scores"} in groups
