"""`report.html`: one file that opens offline, in light and dark, on a phone and on paper."""

from __future__ import annotations

from edgewise.report import search_wording, wording
from edgewise.report.document import Report


def render_page(report: Report) -> str:
    """The page, from the template beside this module. Everything is inline; names are escaped."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("edgewise.report", package_path=""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("report.html.j2")
    return template.render(
        report=report,
        wording=wording,
        search_wording=search_wording,
        missed=wording.missed_budgets(report.targets),
    )
