"""How long to wait for an answer: by what is known of the device's speed, or as the user says."""

from __future__ import annotations

import math
import os

from edgewise.errors import UsageError

#: seconds that any answer may take, in place of what is worked out here
TIMEOUT_VARIABLE = "EDGEWISE_DEVICE_TIMEOUT"
_GREETING_SECONDS = 120.0
_ANSWER_SECONDS = 300.0
_EMULATED_ANSWER_SECONDS = 1800.0
_SLOWER = 20.0  # times as slow as the slowest run so far


class Patience:
    """Seconds by kind of request; `learn` tells it how long runs take."""

    def __init__(self, answer: float, chosen: float | None = None) -> None:
        self.answer = answer if chosen is None else chosen
        self.greeting = _GREETING_SECONDS if chosen is None else chosen
        self.remedy = f"Set {TIMEOUT_VARIABLE} to more seconds where the device needs them."
        self._chosen = chosen
        self._slowest: dict[str, float] = {}

    @classmethod
    def of(cls, *, emulated: bool) -> Patience:
        """Raises UsageError where the environment names no seconds."""
        base = _EMULATED_ANSWER_SECONDS if emulated else _ANSWER_SECONDS
        text = os.environ.get(TIMEOUT_VARIABLE, "")
        if not text:
            return cls(base)
        try:
            seconds = float(text)
        except ValueError:
            seconds = math.nan
        if not 0 < seconds < math.inf:
            raise UsageError(
                f"'{text}' is no number of seconds",
                where=f"environment variable {TIMEOUT_VARIABLE}",
            )
        return cls(base, seconds)

    def learn(self, model: str, seconds: float) -> None:
        """One run of a model took so long."""
        self._slowest[model] = max(seconds, self._slowest.get(model, 0.0))

    def runs(self, model: str, runs: int) -> float:
        """For an answer that takes so many runs."""
        if self._chosen is not None:
            return self._chosen
        return self.answer + _SLOWER * runs * self._slowest.get(model, 0.0)
