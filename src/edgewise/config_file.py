"""A project from a file, from flags, or from both: flags win, and errors name the one to blame."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from edgewise.config import Project, TargetTable
from edgewise.config_errors import Key, nearest, usage_error
from edgewise.errors import UsageError
from edgewise.references import is_reference
from edgewise.targets import TARGETS

#: keys whose values are paths, relative to the project file
_PATH_KEYS: tuple[Key, ...] = (
    ("model", "source"),
    ("model", "weights"),
    ("data", "calibration"),
    ("data", "evaluation"),
    ("data", "labels"),
    ("latency", "baseline"),
    ("output", "dir"),
)


#: in the key of an override
EVERY_TARGET = "*"
#: flag or argument of a key, where it is not the key's own name
_NAMES: dict[Key, str] = {("output", "dir"): "out", ("model", "input_shapes"): "input_shape"}


@dataclass(frozen=True, slots=True)
class Override:
    """A value that wins over the project file's; `origin` is what the user wrote (`--limit`)."""

    key: Key
    origin: str
    value: Any


@dataclass(frozen=True, slots=True)
class Setting:
    """The value of a key that the command line names in full, with `--set`."""

    value: Any


def from_flags(values: Mapping[Key, Any]) -> list[Override]:
    """Overrides of the command line's options, those not given (None) left out."""
    return [_flag(key, value) for key, value in values.items() if value is not None]


def _flag(key: Key, value: Any) -> Override:
    if isinstance(value, Setting):
        return Override(key, f"--set {'.'.join(key)}", value.value)
    return Override(key, f"--{_NAMES.get(key, key[-1]).replace('_', '-')}", value)


def from_arguments(values: Mapping[Key, Any]) -> list[Override]:
    """Overrides of a Python call's arguments, those not given (None) left out."""
    names: dict[Key, str] = {("model", "input_shapes"): "input_shapes"}
    return [
        Override(key, f"argument '{names.get(key, _NAMES.get(key, key[-1]))}'", value)
        for key, value in values.items()
        if value is not None
    ]


def load_project(
    path: str | Path | None,
    overrides: Sequence[Override] = (),
    *,
    targets: Sequence[str] | None = None,
) -> Project:
    """The project of `path` with `overrides` on top, restricted to `targets` when given.

    Args:
        path: a TOML file; None when everything comes from the overrides.
        overrides: values that replace those of the file.
        targets: names of the targets to build; tables of the others are dropped.

    Raises:
        UsageError: the file is missing or not TOML, or a key or value is not allowed.
    """
    file = None if path is None else Path(path)
    content = {} if file is None else _rebased(_read(file), file.parent)
    if targets:
        _keep_targets(content, targets)
        _refuse_other_targets(overrides, targets)
    overrides = list(_expanded(overrides, content.get("targets")))
    origins = {override.key: override.origin for override in overrides}
    for override in overrides:
        _put(content, override, file)

    def origin(key: Key) -> str:
        return next((o for k, o in origins.items() if key[: len(k)] == k), _in_file(file, key))

    try:
        project = Project.model_validate(content)
    except ValidationError as error:
        raise usage_error(error, origin) from None
    _refuse_misspelt_precision(project, file)
    return project if file is None else project.at(file.parent)


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(
            "no such file", where=str(path), remedy="Check the project file's path."
        ) from None
    except OSError as error:
        raise UsageError(
            "cannot read the project file", where=str(path), why=error.strerror or str(error)
        ) from error
    except UnicodeDecodeError:
        raise UsageError("is not a UTF-8 text file", where=str(path)) from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError("is not valid TOML", where=str(path), why=str(error)) from None


def _rebased(content: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Paths of the file, seen from the working directory."""
    for table, key in _PATH_KEYS:
        rows = content.get(table)
        value = rows.get(key) if isinstance(rows, dict) else None
        if isinstance(value, str) and value and not _names_module(value, folder):
            content[table][key] = str(folder / value)
    output = content.setdefault("output", {})
    if isinstance(output, dict):
        output.setdefault("dir", str(folder / "dist"))
    return content


def _names_module(value: str, folder: Path) -> bool:
    """`package.module:name` stays as it is; `file.py:name` and everything else is a path."""
    return is_reference(value) and ".py:" not in value and not (folder / value).exists()


def refuse_unknown_targets(targets: Iterable[str]) -> None:
    """Raises UsageError for what is no target."""
    for name in targets:
        if name not in TARGETS:
            raise UsageError(
                f"unknown target '{name}'.{nearest(name, TARGETS)}",
                where="--target",
                remedy=f"Allowed: {', '.join(TARGETS)}.",
            )


def _keep_targets(content: dict[str, Any], targets: Iterable[str]) -> None:
    refuse_unknown_targets(targets)
    tables = content.get("targets", {})
    if isinstance(tables, dict):  # anything else is the validation's to refuse
        content["targets"] = {name: tables.get(name, {}) for name in targets}


def _refuse_other_targets(overrides: Sequence[Override], targets: Sequence[str]) -> None:
    """An option for a target must not add it to those that are built."""
    for override in overrides:
        table, name = override.key[:2]
        if table == "targets" and name in TARGETS and name not in targets:
            raise UsageError(
                f"'{name}' is not built",
                where=override.origin,
                why=f"the targets are {', '.join(targets)}",
                remedy=f"Add --target {name}, or leave this out.",
            )


def _expanded(overrides: Sequence[Override], tables: object) -> Iterator[Override]:
    """`EVERY_TARGET` stands for the targets that are built; an override that names one wins."""
    chosen = list(tables) if isinstance(tables, dict) and tables else list(TARGETS)
    for override in sorted(overrides, key=lambda o: EVERY_TARGET not in o.key):
        if EVERY_TARGET not in override.key:
            yield override
            continue
        for name in chosen:
            key = tuple(name if part == EVERY_TARGET else part for part in override.key)
            yield Override(key, override.origin, override.value)


def _refuse_misspelt_precision(project: Project, file: Path | None) -> None:
    """Targets check their own options, but late: this typing error is worth an early word."""
    for name, table in project.targets.items():
        for option in table.options:
            if hint := nearest(option, TargetTable.model_fields):
                raise UsageError(
                    f"unknown key.{hint}", where=_in_file(file, ("targets", name, option))
                )


def _put(content: dict[str, Any], override: Override, file: Path | None) -> None:
    table: Any = content
    for depth, part in enumerate(override.key[:-1], start=1):
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise UsageError(
                f"found {table!r}; allowed: a table", where=_in_file(file, override.key[:depth])
            )
    table[override.key[-1]] = override.value


def _in_file(file: Path | None, key: Key) -> str:
    prefix = "" if file is None else f"{file}: "
    table = ".".join(key[:-1])
    return f"{prefix}[{table}] {key[-1]}" if table else f"{prefix}[{key[-1]}]"
