"""The search for the fastest quantization that keeps the user's accuracy.

result = search(problem)
result.met, result.chosen, result.trials
"""

from __future__ import annotations

from edgewise.search.ladder import search
from edgewise.search.problem import Problem
from edgewise.search.result import Nearest, SearchResult
from edgewise.search.trial import Trial

__all__ = ["Nearest", "Problem", "SearchResult", "Trial", "search"]
