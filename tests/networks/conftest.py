"""Tracing writes thousands of debug records, which pytest would gather and format."""

from __future__ import annotations

import logging

logging.getLogger("torch.__trace").disabled = True
