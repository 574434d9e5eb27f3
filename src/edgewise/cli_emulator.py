"""`edgewise emulator`: ARM64 code on this machine. Only typer is imported here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgewise import cli_options as options
from edgewise.cli_run import run_command

if TYPE_CHECKING:
    from edgewise.targets.validation.devices.bundle.installation import Installation

emulator = typer.Typer(
    name="emulator",
    help="Run ARM64 code on this machine: install what that needs, or remove it.",
    no_args_is_help=True,
)


@emulator.command()
def install(
    counter: Annotated[
        bool, typer.Option("--counter", help="Also build what counts instructions.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Install again, with today's packages.")
    ] = False,
    verbose: options.Verbose = False,
) -> None:
    """Download the ARM64 runtimes and an emulator into the user's cache; no root is needed."""

    def action(terminal: Any) -> None:
        from edgewise.targets.validation.devices.bundle.install import install as work

        found, is_new = work(counter=counter, force=force, progress=terminal.progress)
        lines = [*_described(found), *(f"note: {note}" for note in found.notes)]
        if not is_new:
            lines.append("All of it was installed already.")
        terminal.result().write("\n".join(lines) + "\n")

    run_command(action, verbose=verbose)


@emulator.command()
def status(json: options.Json = False, verbose: options.Verbose = False) -> None:
    """Show what is installed, and where."""

    def action(terminal: Any) -> None:
        from dataclasses import asdict
        from json import dumps

        from edgewise.targets.validation.devices.bundle.installation import installed

        found = installed()
        text = dumps(asdict(found), indent=2, default=str) if json else "\n".join(_described(found))
        terminal.result().write(f"{text}\n")

    run_command(action, verbose=verbose)


@emulator.command()
def remove(verbose: options.Verbose = False) -> None:
    """Delete what was installed."""

    def action(terminal: Any) -> None:
        from edgewise.targets.validation.devices.bundle.install import remove as work

        freed = work()
        terminal.result().write(
            f"Removed {freed / 1e6:.0f} MB.\n" if freed else "Nothing was installed.\n"
        )

    run_command(action, verbose=verbose)


def _described(found: Installation) -> list[str]:
    bundle = found.bundle
    versions = ", ".join(f"{name} {version}" for name, version in sorted(bundle.versions.items()))
    size = bundle.archive.stat().st_size / 1e6
    if found.qemu is None:
        runs = "none: this machine runs ARM64 code itself"
    else:
        runs = f"QEMU {found.qemu_version} ({found.qemu}): {', '.join(found.cpus)}"
    counter = "not installed (--counter)" if found.counter is None else str(found.counter.plugin)
    return [
        f"bundle    {bundle.root} ({bundle.digest[:12]}, {size:.0f} MB packed)",
        f"          {versions}",
        f"emulator  {runs}",
        f"counter   {counter}",
    ]
