"""Pydantic's complaints as one line in the user's terms: key, what was found, what is allowed."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from edgewise.config import Allowed, BudgetLimits, BudgetTable, Project
from edgewise.errors import UsageError
from edgewise.targets import TARGETS

Key = tuple[str, ...]
#: more problems than this are counted rather than told, to stay within a line
_TOLD = 3


def usage_error(error: ValidationError, origin: Callable[[Key], str]) -> UsageError:
    """One UsageError for all problems; `origin` names the place of a key (file and table, flag)."""
    problems: dict[Key, str] = {}
    for entry in error.errors():  # a union complains once per member: the first one speaks
        place = _locate(entry["loc"])
        problems.setdefault(place.key, f"{origin(place.key)}: {_tell(entry, place)}")
    told = list(problems.values())
    text = "; ".join(told[:_TOLD])
    return UsageError(text if len(told) <= _TOLD else f"{text}; and {len(told) - _TOLD} more")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a complaint lies: the key in the user's terms, its field, and the table around it."""

    key: Key
    field: FieldInfo | None
    table: type[BaseModel] | None


def _locate(loc: Sequence[int | str]) -> _Place:
    """Walk the models along `loc`; list positions and union members belong to the value."""
    key: list[str] = []
    field: FieldInfo | None = None
    table: type[BaseModel] | None = None
    annotation: Any = Project
    for part in (str(part) for part in loc if part != "[key]"):  # a complaint about a name
        table = _table_in(annotation)
        if table is not None:
            key.append(part)
            field = table.model_fields.get(part)
            if field is not None:
                annotation = field.annotation
            elif table is BudgetTable and part in TARGETS:
                annotation = BudgetLimits
            else:
                break
        elif get_origin(annotation) is dict:  # the user chose the name
            key.append(part)
            annotation = get_args(annotation)[1]
        else:
            break
    return _Place(tuple(key), field, table)


def _table_in(annotation: Any) -> type[BaseModel] | None:
    members = () if get_origin(annotation) is dict else get_args(annotation)
    for candidate in (annotation, *members):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def _tell(entry: Any, place: _Place) -> str:
    name, table = place.key[-1], place.table
    if place.key[:-1] == ("targets",) and name not in TARGETS:
        return f"unknown target.{nearest(name, TARGETS)} Allowed: {', '.join(TARGETS)}"
    if place.field is None and table is not None and not (table is BudgetTable and name in TARGETS):
        known = [*table.model_fields, *(TARGETS if table is BudgetTable else ())]
        return f"unknown key.{nearest(name, known)} Allowed: {', '.join(known)}"
    if entry["type"] == "missing":
        return "is missing"
    return f"found {_shown(entry['input'])}; allowed: {_allowed(place)}"


def _allowed(place: _Place) -> str:
    metadata: Iterable[Any] = place.field.metadata if place.field is not None else ()
    return next((item.text for item in metadata if isinstance(item, Allowed)), "a table")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def nearest(name: str, known: Iterable[str]) -> str:
    """` Did you mean '...'?` when a known name is close, else nothing."""
    match = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean '{match[0]}'?" if match else ""
