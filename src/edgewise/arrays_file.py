"""Named arrays in an `.npz` file, read whole and written whole or not at all."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgewise.errors import DataError
from edgewise.files import staged

Array = npt.NDArray[Any]


def read_arrays(path: Path) -> dict[str, Array]:
    """Name -> array. Raises DataError for a file that is missing, damaged, or holds objects."""
    try:
        if path.is_file() and not zipfile.is_zipfile(path):
            raise zipfile.BadZipFile("it is no .npz file, or a truncated one")
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, KeyError, NotImplementedError, MemoryError) as error:
        raise _unreadable(path, error) from error
    except (zipfile.BadZipFile, zlib.error, RuntimeError, SyntaxError) as error:
        raise _unreadable(path, error) from error


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """The arrays under their names, with the same bytes for the same arrays.

    `numpy.savez` would take no array of the name `file`, and writes the time. Raises UsageError.
    """
    with staged(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, array in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy")  # the time is 1980
            with archive.open(entry, "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)


def _unreadable(path: Path, error: Exception) -> DataError:
    told = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return DataError(
        "cannot read the arrays",
        where=str(path),
        why=told.split("\n")[0] or type(error).__name__,
        remedy="Give an .npz file, as numpy.savez writes it.",
    )
