"""For all tests: hypothesis judges results, not the time that a busy machine takes for them.

With CI set, the examples are the same in every run, so that a change is judged by what it changed;
elsewhere they are random and keep looking.
"""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("search", deadline=None)
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable" if os.environ.get("CI") else "search")
