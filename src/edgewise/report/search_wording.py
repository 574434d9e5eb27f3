"""Searches as people read them: one line on the console, a table of trials on the page."""

from __future__ import annotations

from collections.abc import Mapping

from edgewise.search.summary import SearchSummary, TrialSummary

_ENDS = {
    "met": "the accuracy budget is kept",
    "exhausted": "nothing was left to try",
    "time": "time was over",
}


def search_lines(searches: Mapping[str, SearchSummary]) -> list[str]:
    """`search for apple: method mse, equalize; 12 recipes tried in 83 s; the accuracy budget is
    kept`, for each target."""
    return [f"search for {name}: {search_line(found)}" for name, found in searches.items()]


def search_line(found: SearchSummary) -> str:
    seconds = sum(trial.seconds for trial in found.trials)
    recipes = "1 recipe" if len(found.trials) == 1 else f"{len(found.trials)} recipes"
    return f"{found.chosen}; {recipes} tried in {seconds:.0f} s; {_ENDS[found.ended]}"


def drop_text(trial: TrialSummary) -> str:
    """What it loses, of the QDQ model and of the file where that was written."""
    if trial.qdq is None:
        return trial.reason or "not scored"
    text = f"{trial.qdq.drop:+.4f}"
    return text if trial.artifact is None else f"{text}, file {trial.artifact.drop:+.4f}"


def gain_text(trial: TrialSummary) -> str:
    """What it buys over the first trial, and whether that is more than chance."""
    if trial.gain is None:
        return ""
    if trial.gain_ci95 is None:
        return f"{trial.gain:+.4f}"
    low, high = trial.gain_ci95
    chance = "" if trial.beyond_noise else ", within noise"
    return f"{trial.gain:+.4f} ({low:+.4f} to {high:+.4f}{chance})"
