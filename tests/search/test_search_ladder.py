"""A search finds what a spoiled network needs, says so when nothing helps, and goes on later."""

from __future__ import annotations

import math

import pytest

from edgewise.calibration import Recipe
from edgewise.graph import OrtSession
from edgewise.search import ladder, search
from edgewise.search.evaluator import Evaluator
from edgewise.targets.validation import Budget


def test_the_project_s_recipe_is_kept_where_it_meets_the_contract(problem):
    result = search(problem(budget=Budget(accuracy_drop=0.9)))
    assert result.met and result.chosen.recipe == Recipe()
    assert len(result.trials) == 1 and result.chosen.artifact is not None
    assert result.ended == "met" and result.statistics is problem().statistics


def test_a_repair_saves_what_channels_of_different_size_spoil(problem):
    asked = problem()
    result = search(asked)
    first = result.trials[0]
    assert first.qdq is not None and first.qdq.drop > 0.05 and first.artifact is None
    assert result.met and "equalize" in result.chosen.recipe.repairs
    assert not result.chosen.recipe.float_nodes
    assert result.chosen.gain is not None and result.chosen.gain > 0.05
    assert result.chosen.beyond_noise
    assert result.chosen.artifact is not None and result.chosen.artifact.drop <= 0.005
    OrtSession(result.quantized.model)
    assert not list(asked.scratch.iterdir())


def test_layers_stay_in_float_where_no_repair_helps(problem, monkeypatch):
    monkeypatch.setattr(ladder, "REPAIRS", {})
    result = search(problem())
    kept = result.chosen.recipe.float_nodes
    assert result.met and kept and len(kept) <= 6
    assert {"node_Conv_282", "node_Conv_284"} & kept
    fewer = [trial for trial in result.trials if 0 < trial.float_nodes < len(kept)]
    assert all(trial.met is False for trial in fewer)


def test_a_contract_that_cannot_be_kept_ends_with_the_best_and_what_can_be_had(problem):
    result = search(problem(budget=Budget(min_accuracy=1.01)))
    assert not result.met and result.ended == "exhausted"
    drops = [trial.drop for trial in result.trials if trial.drop is not None]
    assert result.chosen.drop == min(drops)
    assert result.nearest[-1].accuracy_drop == min(drops)
    assert all(trial.artifact is None for trial in result.trials)


def test_time_ends_a_search_after_its_first_trial(problem):
    result = search(problem(seconds=0.0))
    assert result.ended == "time" and len(result.trials) == 1
    assert result.chosen is result.trials[0] and not result.met


def test_a_search_that_was_ended_goes_on_from_what_it_knew(problem, monkeypatch):
    search(problem())

    def refuse(*_):
        raise AssertionError("it was made again")

    monkeypatch.setattr("edgewise.search.evaluator.score", refuse)
    again = search(problem())
    assert again.met and again.chosen.gain is not None


def test_figures_of_another_subject_are_not_taken(problem):
    android = Evaluator(problem("android"), ladder.SILENT)
    arm = Evaluator(problem("arm"), ladder.SILENT)
    android.ranking(Recipe())
    assert arm.problem.cache.read("ranking", Recipe().key) is None


def test_a_recipe_that_cannot_be_carried_out_is_a_trial_with_a_reason(problem):
    run = ladder._Run(Evaluator(problem(), ladder.SILENT), ladder.SILENT)
    assert run.rank("impossible", Recipe(method="no such method")) == -math.inf
    assert run.trials[0].reason == "unknown calibration method 'no such method'"


@pytest.mark.parametrize("target", [pytest.param("apple", marks=pytest.mark.slow), "arm"])
def test_every_target_is_confirmed_on_its_own_file(problem, target):
    result = search(problem(target, budget=Budget(accuracy_drop=0.9)))
    assert result.chosen.artifact is not None and result.met
