"""`edgewise inspect`: what a model is made of, and which targets take it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TextIO, get_args

from edgewise.cli_run import Terminal
from edgewise.errors import UsageError
from edgewise.exporters import Shapes, SourceOptions
from edgewise.exporters.opened import ExporterName
from edgewise.inspection import document, read
from edgewise.inspection.telling import layer_lines, overview, support_lines
from edgewise.targets import get


def inspect_command(
    terminal: Terminal,
    source: str,
    options: SourceOptions,
    targets: Sequence[str],
    *,
    layers: bool,
    json: bool,
) -> None:
    """`edgewise inspect`. What no target is needed for is told first: it takes the least time."""
    for name in targets:
        get(name)  # an unknown one is told before any work
    terminal.progress.step("reading the model")
    reading = read(source, options)
    if json:
        if targets:
            terminal.progress.step("asking the targets")
        facts = reading.with_targets(targets)
        terminal.result().write(document.to_json(facts))
        return
    stream = terminal.result()
    _write(stream, overview(reading.facts))
    if targets:
        _write(stream, ["", *support_lines(reading.with_targets(targets).targets)])
    if layers:
        _write(stream, ["", *layer_lines(reading.facts.layers)])


def _write(stream: TextIO, lines: Iterable[str]) -> None:
    stream.writelines(f"{line}\n" for line in lines)
    stream.flush()


def source_options(
    shapes: Shapes,
    weights: str | None,
    signature: str | None,
    task: str | None,
    exporter: str | None,
    allow_code: bool,
) -> SourceOptions:
    """The options of the command line. Raises UsageError: there is no such exporter."""
    allowed: tuple[ExporterName, ...] = get_args(ExporterName)
    chosen = next((name for name in allowed if name == (exporter or "auto")), None)
    if chosen is None:
        raise UsageError(f"found '{exporter}'; allowed: {', '.join(allowed)}", where="--exporter")
    return SourceOptions(
        input_shapes=shapes,
        weights=weights,
        signature=signature,
        task=task,
        exporter=chosen,
        allow_code=allow_code,
    )
