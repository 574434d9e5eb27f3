"""What a build found out, as JSON, as a page and as a table."""

from edgewise.report.document import (
    FORMAT,
    CalibrationSummary,
    DataSummary,
    EvaluationSummary,
    ModelSummary,
    Report,
    TensorSummary,
    report_schema,
    to_json,
)
from edgewise.report.page import render_page
from edgewise.report.table import print_results

__all__ = [
    "FORMAT",
    "CalibrationSummary",
    "DataSummary",
    "EvaluationSummary",
    "ModelSummary",
    "Report",
    "TensorSummary",
    "print_results",
    "render_page",
    "report_schema",
    "to_json",
]
