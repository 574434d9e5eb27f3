"""The result on the console: one row per target and device, then what needs a word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from edgewise.findings import Finding
from edgewise.report import wording
from edgewise.targets.validation import TargetResult

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

#: width where there is no terminal to ask
_PLAIN_WIDTH = 100
#: below this width, columns stand as close as they can
_NARROW = 90
#: parts of a profile that are told
_PROFILED = 10


def print_results(
    results: Mapping[str, TargetResult],
    stream: TextIO,
    *,
    metric: str | None = None,
    remarks: Sequence[Finding] = (),
    origin: str = "",
    searches: Sequence[str] = (),
    page: Path | None = None,
    verbose: bool = False,
) -> None:
    """Write the table to `stream`: coloured on a terminal, plain text elsewhere.

    Args:
        metric: its name, for the head of the accuracy column.
        remarks: findings that belong to no target.
        origin: where the hub model came from, and how near it is to that.
        searches: a line for each search of a recipe.
        page: the path of `report.html`, for the last line.
        verbose: tell every finding, rather than how many there are.
    """
    from rich.console import Console

    console = Console(
        file=stream,
        width=None if stream.isatty() else _PLAIN_WIDTH,
        highlight=False,
        markup=False,
        emoji=False,
    )
    notes: list[str] = []
    console.print(_table(results, metric, notes, narrow=console.width < _NARROW))
    for number, note in enumerate(notes, start=1):
        console.print(f"[{number}] {note}", style="dim", soft_wrap=True)
    if origin:
        console.print(f"model: {origin}", style="dim", soft_wrap=True)
    for line in (*searches, *wording.how_faithful(results), *wording.where_measured(results)):
        console.print(line, style="dim", soft_wrap=True)
    for line in wording.instruction_lines(results):
        console.print(line, style="dim", soft_wrap=True)
    for line in wording.delegate_lines(results):
        console.print(line, style="dim", soft_wrap=True)
    for line in wording.profile_lines(results, _PROFILED):
        console.print(line, style="dim", soft_wrap=True)
    for line in wording.missed_budgets(results):
        console.print(f"budget missed: {line}", style="bold red", soft_wrap=True)
    groups = {"": tuple(remarks)} | {name: result.findings for name, result in results.items()}
    where = "(--verbose tells them)" if page is None else ""
    for line in _finding_lines(groups) if verbose else _finding_counts(groups, where):
        console.print(line, soft_wrap=True)
    if page is not None:
        console.print(f"report: {page}", soft_wrap=True)


def _table(
    results: Mapping[str, TargetResult], metric: str | None, notes: list[str], *, narrow: bool
) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        show_edge=False,
        padding=0 if narrow else (0, 1),
        collapse_padding=True,
    )
    table.add_column("target", overflow="fold", min_width=12)
    table.add_column("size", justify="right", no_wrap=True)
    name = (metric or "accuracy").rpartition(":")[2]  # of package.module:function
    table.add_column(f"{name}: fp32 -> file", justify="right", no_wrap=True)
    table.add_column("latency", justify="right", no_wrap=True)
    table.add_column("vs QDQ model", justify="right", no_wrap=True)
    table.add_column("budget", no_wrap=True)
    placed = wording.is_elsewhere(results)
    for result in results.values():
        table.add_row(*_row(result, notes, placed=placed))
    return table


def _row(result: TargetResult, notes: list[str], *, placed: bool) -> list[Text]:
    from rich.text import Text

    cells = (
        wording.size(result),
        wording.accuracy(result.accuracy),
        wording.latency(result.latency),
        wording.equivalence(result.equivalence),
    )
    verdict = wording.budget(result).figure
    style = {"ok": "green", "MISSED": "bold red"}.get(verdict, "")
    lines = [f"{result.target} {result.precision}", Path(result.artifact).name]
    return [
        Text("\n".join([*lines, f"on {result.device}"] if placed else lines)),
        *(Text(_two_lines(cell, notes)) for cell in cells),
        Text(verdict, style=style),
    ]


def _two_lines(cell: wording.Cell, notes: list[str]) -> str:
    """The figure, and below it the detail or the number of a footnote that explains a gap."""
    lines = [cell.figure, cell.detail] if cell.detail else [cell.figure]
    if cell.reason is not None:
        if cell.reason not in notes:
            notes.append(cell.reason)
        lines.append(f"[{notes.index(cell.reason) + 1}]")
    return "\n".join(lines)


def _finding_counts(groups: Mapping[str, Sequence[Finding]], where: str) -> list[str]:
    """One line: how many warnings and remarks there are, by target, and where they are told."""
    parts = []
    for name, findings in groups.items():
        warnings = sum(finding.severity != "info" for finding in findings)
        counts = [_count(warnings, "warning"), _count(len(findings) - warnings, "remark")]
        if told := ", ".join(count for count in counts if count):
            parts.append(f"{name or 'model and data'} {told}")
    return [f"findings: {'; '.join(parts)} {where}".rstrip()] if parts else []


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' if number > 1 else ''}" if number else ""


def _finding_lines(groups: Mapping[str, Sequence[Finding]]) -> list[str]:
    return [wording.finding_line(name, f) for name, findings in groups.items() for f in findings]
