"""What `forward` takes: of Python modules from its signature, of TorchScript from its schema."""

from __future__ import annotations

import inspect
from typing import Any, NamedTuple

from edgewise.exporters.pytorch.running import Module, import_torch


class Parameters(NamedTuple):
    """Of forward: those that must be given, and all of them (none where it takes `*args`, or
    nothing at all, which is told by `takes_any`)."""

    required: tuple[str, ...]
    names: tuple[str, ...]
    takes_any: bool = True

    @property
    def by_name(self) -> bool:
        """Whether arguments can be passed by name."""
        return bool(self.names)

    @property
    def sole(self) -> str | None:
        """The only input that must be given, or that can be."""
        for names in (self.required, self.names):
            if len(names) == 1:
                return names[0]
        return None

    def __str__(self) -> str:
        return ", ".join(self.names) or "any arguments"


def parameters_of(module: Module) -> Parameters:
    if isinstance(module, import_torch().jit.ScriptModule):
        return _of_script(module)
    parameters = inspect.signature(module.forward).parameters.values()
    plain = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    required = tuple(p.name for p in plain if p.default is p.empty)
    by_position = any(p.kind in (p.VAR_POSITIONAL, p.POSITIONAL_ONLY) for p in parameters)
    names = () if by_position else tuple(p.name for p in plain)
    return Parameters(required, names, takes_any=bool(parameters))


def _of_script(module: Any) -> Parameters:
    arguments = module.forward.schema.arguments[1:]  # the first is the module itself
    required = tuple(a.name for a in arguments if not a.has_default_value())
    return Parameters(required, tuple(a.name for a in arguments), takes_any=bool(arguments))
