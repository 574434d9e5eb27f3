"""Python objects that a user names in a project file: `package.module:name` or `file.py:name`."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

from edgewise.errors import EdgewiseError, UsageError

_REFERENCE = re.compile(r"(?P<module>[A-Za-z_][\w.]*|.+\.py):(?P<name>[A-Za-z_][\w.]*)")


def is_reference(text: str) -> bool:
    """Whether the text has the form of a reference, and is not the path of an existing file."""
    return _REFERENCE.fullmatch(text) is not None and not Path(text).exists()


def resolve(reference: str, *, base: Path | None = None, error: type[EdgewiseError]) -> object:
    """The object that `reference` names.

    Modules are found on the import path, in the working directory and in `base`; these two folders
    stay on the import path, since the module may import its neighbours later.

    Args:
        base: folder of the project file; relative `file.py` paths start there.
        error: raised when the module's own code fails.

    Raises:
        UsageError: no such file, module or attribute.
    """
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise UsageError(f"'{reference}' is not of the form package.module:name or file.py:name")
    folder = Path.cwd() if base is None else base
    is_file = match["module"].endswith(".py")
    path = (folder / match["module"]).resolve()
    if is_file and not path.is_file():
        raise UsageError("no such file", where=reference, why=f"'{path}' does not exist")
    _extend_import_path([path.parent] if is_file else [folder.resolve(), Path.cwd()])
    try:
        module = _load_file(path) if is_file else importlib.import_module(match["module"])
    except ModuleNotFoundError as failure:
        raise _not_found(reference, match["module"], failure) from failure
    except (Exception, SystemExit) as failure:  # user code may raise anything, and may be a script
        raise error(
            f"'{match['module']}' failed while it was imported",
            where=reference,
            why=describe(failure),
        ) from failure
    return _attribute(module, match["name"], reference)


def describe(failure: BaseException) -> str:
    """Type, message and last line of user code of an exception, on one line."""
    place = ""
    trace = failure.__traceback__
    while trace is not None:
        place = f" ({Path(trace.tb_frame.f_code.co_filename).name}, line {trace.tb_lineno})"
        trace = trace.tb_next
    message = str(failure).strip().splitlines()
    return f"{type(failure).__name__}{': ' + message[0] if message else ''}{place}"


def _extend_import_path(folders: list[Path]) -> None:
    for folder in folders:
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))


def _load_file(path: Path) -> ModuleType:
    loaded = sys.modules.get(path.stem)
    if loaded is not None and getattr(loaded, "__file__", None) == str(path):
        return loaded
    name = path.stem if loaded is None else f"_edgewise_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot load {path.name}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look their module up
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _not_found(reference: str, module: str, failure: ModuleNotFoundError) -> UsageError:
    missing = failure.name or module
    if module == missing or module.startswith(f"{missing}."):
        remedy = "Check the spelling, and that the folder with the module is the working directory."
    else:
        remedy = f"Install the package that provides '{missing}'."
    return UsageError(f"there is no module '{missing}'", where=reference, remedy=remedy)


def _attribute(module: ModuleType, dotted: str, reference: str) -> object:
    found: object = module
    for part in dotted.split("."):
        if not hasattr(found, part):
            public = _public_names(module)
            raise UsageError(
                f"module '{module.__name__}' has no '{dotted}'",
                where=reference,
                remedy=f"It defines {', '.join(public[:20])}." if public else "",
            )
        found = getattr(found, part)
    return found


def _public_names(module: ModuleType) -> list[str]:
    """What the module itself offers, without what it imports."""
    declared: list[str] | None = getattr(module, "__all__", None)
    own = (n for n, v in vars(module).items() if getattr(v, "__module__", "") == module.__name__)
    return sorted(n for n in (own if declared is None else declared) if not n.startswith("_"))
