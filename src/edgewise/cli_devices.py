"""`edgewise devices`: where artifacts can be validated, and names for these places.

Only typer is imported here: see `edgewise.cli`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from edgewise import cli_options as options
from edgewise.cli_run import run_command

devices = typer.Typer(
    name="devices",
    help="List devices to validate on, and give them names.",
    invoke_without_command=True,
)

_Name = Annotated[str, typer.Argument(metavar="NAME", help="Letters, digits, '-' and '_'.")]


@devices.callback()
def _list(
    context: typer.Context, json: options.Json = False, verbose: options.Verbose = False
) -> None:
    if context.invoked_subcommand is not None:
        return

    def action(terminal: Any) -> None:
        from edgewise.cli_device_commands import list_command

        list_command(terminal, json=json)

    run_command(action, verbose=verbose)


@devices.command()
def add(
    name: _Name,
    address: Annotated[
        str,
        typer.Argument(
            metavar="ADDRESS",
            help="ssh://user@host:port, adb:SERIAL, emulated:cortex-a53 or mac:user@host.",
        ),
    ],
    threads: Annotated[
        int | None, typer.Option(metavar="N", help="Threads while latency is measured there.")
    ] = None,
    benchmark_model: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Of a phone: LiteRT's native benchmark_model for Android, on this machine; "
            "times GPU and NPU.",
        ),
    ] = None,
    no_test: Annotated[
        bool, typer.Option("--no-test", help="Keep it without connecting to it.")
    ] = False,
    verbose: options.Verbose = False,
) -> None:
    """Give a device a name, once it has answered."""

    def action(terminal: Any) -> None:
        from edgewise.cli_device_commands import add_command

        add_command(terminal, name, address, threads, benchmark_model, test=not no_test)

    run_command(action, verbose=verbose)


@devices.command()
def test(
    device: Annotated[str, typer.Argument(metavar="DEVICE", help="A name or an address.")],
    json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Connect to a device, and show what it says of itself."""

    def action(terminal: Any) -> None:
        from edgewise.cli_device_commands import test_command

        test_command(terminal, device, json=json)

    run_command(action, verbose=verbose)


@devices.command()
def remove(
    name: _Name,
    keep_files: Annotated[
        bool, typer.Option("--keep-files", help="Leave what Edgewise put on the device there.")
    ] = False,
    verbose: options.Verbose = False,
) -> None:
    """Forget a name, and delete what Edgewise put on the device."""

    def action(terminal: Any) -> None:
        from edgewise.cli_device_commands import remove_command

        remove_command(terminal, name, keep_files=keep_files)

    run_command(action, verbose=verbose)
