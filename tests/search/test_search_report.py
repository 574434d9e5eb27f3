"""What the console, the page and the findings say of a search."""

from __future__ import annotations

from edgewise.calibration import Recipe
from edgewise.report.search_wording import drop_text, gain_text, search_lines
from edgewise.search.result import Nearest, SearchResult
from edgewise.search.summary import SearchSummary, summarize
from edgewise.search.trial import Score, Trial

PLAIN = Trial("as the project says", Recipe(), 12.0, Score(0.7, 0.2, (0.1, 0.3)), seconds=2.0)
RANKED = Trial("method mse", Recipe(method="mse"), 13.0, seconds=1.0)
BETTER = Trial(
    "method mse, equalize",
    Recipe(method="mse", repairs=("equalize",)),
    20.0,
    Score(0.88, 0.02, (0.0, 0.04)),
    Score(0.87, 0.03, None),
    gain=0.18,
    gain_ci95=(0.1, 0.25),
    seconds=3.5,
)


def summary(ended: str = "met") -> SearchSummary:
    nearest = (Nearest(0.03, BETTER.step, 0),)
    trials = (PLAIN, RANKED, BETTER)
    result = SearchResult(ended, BETTER, trials, nearest, *[None] * 3)  # type: ignore[arg-type]
    return summarize(result)


def test_the_console_says_what_was_chosen_and_how_it_ended():
    assert search_lines({"apple": summary(), "arm": summary("time")}) == [
        "search for apple: method mse, equalize; 3 recipes tried in 6 s; the accuracy budget is "
        "kept",
        "search for arm: method mse, equalize; 3 recipes tried in 6 s; time was over",
    ]


def test_trials_tell_their_drop_and_what_they_buy():
    plain, ranked, better = summary().trials
    assert drop_text(plain) == "+0.2000" and gain_text(plain) == ""
    assert drop_text(ranked) == "not scored"
    assert drop_text(better) == "+0.0200, file +0.0300"
    assert gain_text(better) == "+0.1800 (+0.1000 to +0.2500)"


def test_a_gain_within_noise_is_called_so():
    trial = Trial("x", Recipe(), gain=0.01, gain_ci95=(-0.01, 0.03))
    result = SearchResult("met", trial, (trial,), (), *[None] * 3)  # type: ignore[arg-type]
    assert gain_text(summarize(result).trials[0]).endswith(", within noise)")
