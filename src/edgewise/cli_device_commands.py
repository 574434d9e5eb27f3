"""What `edgewise devices` does. Imported when a command runs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgewise.cli_run import Terminal
from edgewise.device_facts import Meeting, meet
from edgewise.errors import DeviceError, UsageError
from edgewise.report import to_json
from edgewise.targets.base import LOCAL
from edgewise.targets.host_cpu import read_host_cpu
from edgewise.targets.validation.devices import has_runner, registry, resolve
from edgewise.targets.validation.devices.bundle.installation import installed
from edgewise.targets.validation.devices.connections import device_at
from edgewise.targets.validation.devices.registry import NamedDevice

_COMMENTS_LOST = f"note: comments in {registry.FILE_NAME} were not kept\n"


@dataclass(frozen=True, slots=True)
class _Row:
    """One line of the list. `device` is what `--on` takes; empty for a hint."""

    device: str
    address: str
    note: str


def list_command(terminal: Terminal, *, json: bool) -> None:
    """`edgewise devices`. Nothing is connected to: adb is asked which phones it sees."""
    terminal.progress.step("look for devices")
    rows = [_Row(LOCAL, LOCAL, f"this machine ({read_host_cpu().arch})")]
    rows += [_Row(d.name, d.address, _settings(d)) for d in registry.registered().values()]
    rows += [*_emulated(), *_phones()]
    stream = terminal.result()
    if json:
        listed = [asdict(row) for row in rows if row.device]
        hints = [row.note for row in rows if not row.device]
        stream.write(to_json({"devices": listed, "hints": hints}))
        return
    width = max(len(row.device) for row in rows)
    for row in rows:
        address = "" if row.address == row.device else row.address
        words = [row.device.ljust(width), address, row.note] if row.device else [row.note]
        stream.write("  ".join(word for word in words if word).rstrip() + "\n")


def add_command(
    terminal: Terminal,
    name: str,
    address: str,
    threads: int | None,
    benchmark_model: Path | None,
    *,
    test: bool,
) -> None:
    """`edgewise devices add`. Raises DeviceError where it does not answer; it is not kept then."""
    if benchmark_model is not None and not benchmark_model.is_file():
        raise UsageError("no such file", where=str(benchmark_model), remedy="Check the path.")
    tool = None if benchmark_model is None else str(benchmark_model.absolute())
    device = NamedDevice(name, address, threads, tool)
    registry.check_new(device)
    meeting = _met(terminal, address) if test else None
    lost = registry.add(device)
    stream = terminal.result()
    stream.write(f"{name}: {address}{_after(_settings(device))}\n")
    if meeting is not None:
        _print_facts(terminal, meeting)
    stream.write(_COMMENTS_LOST if lost else "")


def _met(terminal: Terminal, address: str) -> Meeting:
    try:
        return meet(resolve(address), terminal.progress)
    except DeviceError as error:
        raise DeviceError(
            error.what,
            where=error.where,
            why=error.why,
            remedy=f"{error.remedy} It was not added; --no-test adds it all the same.".strip(),
        ) from error


def test_command(terminal: Terminal, text: str, *, json: bool) -> None:
    """`edgewise devices test`. Raises DeviceError where it does not answer."""
    meeting = meet(resolve(text), terminal.progress)
    if json:
        terminal.result().write(to_json(meeting.as_dict()))
        return
    _print_facts(terminal, meeting)


def remove_command(terminal: Terminal, name: str, *, keep_files: bool) -> None:
    """`edgewise devices remove`. A device that is not there keeps its files, and that is told."""
    device = registry.named_device(name)
    terminal.progress.step(f"delete files on {name}")
    deleted: tuple[str, ...] = ()
    kept = ""
    if not keep_files and has_runner(device.address):
        try:
            deleted = device_at(device.address).clean()
        except DeviceError as error:
            kept = str(error)
    lost = registry.remove(name)
    stream = terminal.result()
    stream.write(f"{name} is no name of a device any more\n")
    stream.writelines(f"deleted there: {item}\n" for item in deleted)
    if kept:
        stream.write(f"what Edgewise put there could not be deleted: {kept}\n")
    stream.write(_COMMENTS_LOST if lost else "")


def _settings(device: NamedDevice) -> str:
    parts = [] if device.threads is None else [f"threads {device.threads}"]
    parts += [] if device.benchmark_model is None else [f"benchmark_model {device.benchmark_model}"]
    return ", ".join(parts)


def _after(text: str) -> str:
    return f" ({text})" if text else ""


def _emulated() -> Iterator[_Row]:
    try:
        found = installed()
    except DeviceError as error:
        yield _Row("", "", f"no emulated cores: {error}")
        return
    by = "this machine" if found.qemu is None else f"QEMU {found.qemu_version}"
    for cpu in found.cpus:
        yield _Row(f"emulated:{cpu}", f"emulated:{cpu}", by)


def _phones() -> Iterator[_Row]:
    from edgewise.targets.validation.devices.adb_client import READY, Adb

    adb = Adb()
    if shutil.which(adb.command[0]) is None:
        yield _Row("", "", "no phones: adb is not installed")
        return
    try:
        adb.start_server("adb")
        phones = adb.attached("adb")
    except DeviceError as error:
        yield _Row("", "", f"no phones: {error}")
        return
    for phone in phones:
        model = phone.model.replace("_", " ") or "attached"
        note = model if phone.state == READY else phone.state
        yield _Row(f"adb:{phone.serial}", f"adb:{phone.serial}", note)


def _print_facts(terminal: Terminal, meeting: Meeting) -> None:
    stream = terminal.result()
    lines: Mapping[str, Any] = meeting.told()
    width = max(map(len, lines))
    for label, text in lines.items():
        stream.write(f"{label.ljust(width)}  {text}\n")
