"""What Edgewise asks the shell of a device, and how the answers are read.

Plain POSIX: these run in dash, bash, the shells of busybox and toybox, and mksh. A device may print
greetings of its own before an answer, so that each begins at a mark.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

_MARK = "edgewise-answer"
#: the line that `start` writes before the runner speaks
STARTED = "edgewise-started"
#: exit codes of our own, beside those of the commands
NO_FOLDER, BUSY, DAMAGED = 41, 42, 43

#: `live`: the process that a temporary folder is named after still runs.
#: `private`: a folder of this user alone. One that somebody else's link leads to, or that is open
#: to others, may be anything, and one in /tmp is anybody's.
_COMMON = """
LC_ALL=C; export LC_ALL; umask 077
live() { [ -d "/proc/${1##*-}" ]; }
drop_dead() {
  for item in "$1"/run-* "$1"/*.part-*; do
    if [ -e "$item" ]; then live "$item" || rm -rf "$item"; fi
  done
}
owner() { set -- $(ls -ldn "$1" 2>/dev/null); echo "$3"; }
closed() { case $(ls -ldn "$1/.") in d????w*|d???????w*) return 1;; d*) return 0;; esac; return 1; }
private() {
  [ "$(owner "$1")" = "$(id -u)" ] && [ "$(owner "$1/.")" = "$(id -u)" ] && closed "$1"
}
users() { for item in "$1"/run-* "$1"/*.part-*; do [ ! -e "$item" ] || echo "$item"; done; }
"""

#: an end by a signal is an end, too, so that what is written for it is deleted
_SIGNALS = """
trap 'exit 129' HUP; trap 'exit 130' INT; trap 'exit 141' PIPE; trap 'exit 143' TERM
""".strip()

#: a kernel tells what it was built for since Linux 6.1, and before that of the processor
_LOOK = """
kernel() {
  cat /proc/sys/kernel/arch 2>/dev/null && return
  [ -r /sys/devices/system/cpu/modalias ] || return
  IFS=,: read -r cpu type name rest < /sys/devices/system/cpu/modalias
  echo "$name"
}
look() {
  case $1 in /*) ;; *) return;; esac
  parent=${1%/*}; made=; made_parent=
  [ -d "$parent" ] || made_parent=1
  [ -d "$1" ] || made=1
  echo "place $1"
  if mkdir -p "$1" 2>/dev/null && [ -w "$1" ]; then
    if private "$1"; then
      inspect "$1"
    else
      echo "state foreign"
    fi
  else
    echo "state unwritable"
  fi
  [ -z "$made" ] || rmdir "$1" 2>/dev/null
  [ -z "$made_parent" ] || rmdir "$parent" 2>/dev/null
}
inspect() {
  drop_dead "$1"
  trial="$1/run-$$"; sh=/bin/sh
  [ -x $sh ] || sh=/system/bin/sh
  if printf '#!%s\\nexit 0\\n' "$sh" > "$trial" 2>/dev/null; then
    chmod 700 "$trial"
    if "$trial" 2>/dev/null; then echo "state fit"; else echo "state noexec"; fi
  else
    echo "state full"
  fi
  rm -f "$trial"
  set -- "$1" $(df -Pk "$1" 2>/dev/null | tail -n 1)
  echo "free $5"
  for item in "$1"/*; do
    case $item in "$1/$digest"|"$1"/run-*|*.part-*|"$1/*") ;; *) echo "other $item";; esac
  done
  if [ -d "$1/$digest" ]; then
    echo "listing"; (cd "$1/$digest" && ls -lnRA . 2>/dev/null); echo "end"
  fi
}
"""


@dataclass(slots=True)
class Place:
    """A folder that was looked at. `state`: fit, foreign, full, noexec or unwritable."""

    path: PurePosixPath
    state: str = "unwritable"
    free_kib: int | None = None
    has_others: bool = False  # other bundles
    #: (folder, file) -> bytes, as `listed` gives them; None where the bundle is not there
    files: Mapping[tuple[str, str], int] | None = None


@dataclass(slots=True)
class Seen:
    """What the look at a device found."""

    machine: str = ""  # as programs are told
    kernel: str = ""  # what the kernel was built for; empty where it does not tell
    tools: set[str] = field(default_factory=set)
    places: list[Place] = field(default_factory=list)


def look(places: Sequence[str], digest: str) -> str:
    """Ask what the device is, and for each place: whether programs run there, its free space, and
    what the bundle consists of. Leaves nothing."""
    asked = "\n".join(f'look "{place}"' for place in places)
    return f"""{_COMMON}{_LOOK}
digest={shlex.quote(digest)}
echo {_MARK}
echo "machine $(uname -m)"; echo "kernel $(kernel)"
for tool in gzip tar; do command -v $tool >/dev/null 2>&1 && echo "tool $tool"; done
{asked}
exit 0
"""


def contents(root: PurePosixPath) -> str:
    """The SHA-256 of every file of a bundle, where the device can tell."""
    return f"""{_COMMON}
cd {shlex.quote(str(root))} || exit {NO_FOLDER}
echo {_MARK}
find . -type f -exec sha256sum {{}} +
"""


def push(place: PurePosixPath, digest: str, *, packed: bool, replace: bool) -> str:
    """Unpack standard input, a tar archive, beside what is there, and give it its name.

    With `replace` the bundle of that name is damaged and deleted first; else another run that was
    faster wins.
    """
    return f"""{_COMMON}
place={shlex.quote(str(place))}; digest={shlex.quote(digest)}
mkdir -p "$place" && cd "$place" || exit {NO_FOLDER}
part=$place/$digest.part-$$
trap 'rm -rf "$part"' EXIT
{_SIGNALS}
{'rm -rf "$place/$digest"' if replace else ""}
mkdir "$part" && cd "$part" || exit {NO_FOLDER}
tar -x {"-z " if packed else ""}-o -f - || exit
cat > /dev/null
cd "$place" || exit {NO_FOLDER}
[ -e "$digest" ] || mv "$part" "$digest"
"""


def drop_others(place: PurePosixPath, digest: str) -> str:
    """Delete other bundles than this one, unless somebody runs there."""
    return f"""{_COMMON}
place={shlex.quote(str(place))}; digest={shlex.quote(digest)}
[ -z "$(users "$place")" ] || exit 0
for item in "$place"/*; do
  [ "$item" = "$place/$digest" ] || rm -rf "$item"
done
"""


def start(place: PurePosixPath, python: Sequence[str], command: Sequence[str]) -> str:
    """Run a command whose temporary files lie below the place, and delete these after it; but first
    let its Python show that it starts, while it still can be told from the command's own failing.
    """
    return f"""{temporary(place)}
{shlex.join([*python, "-c", "import ctypes, json, tempfile"])} < /dev/null || exit {DAMAGED}
echo {STARTED}
{shlex.join(command)}
exit $?
"""


def temporary(place: PurePosixPath) -> str:
    """The beginning of a script whose temporary files lie in `$TMPDIR`, below the place: they are
    deleted when it ends."""
    return f"""{_COMMON}
run={shlex.quote(str(place))}/run-$$
trap 'rm -rf "$run"' EXIT
{_SIGNALS}
mkdir "$run" || exit {NO_FOLDER}
TMPDIR=$run; export TMPDIR"""


def clean(places: Sequence[str]) -> str:
    """Delete the bundles and what was left of temporary files, and name what there was."""
    asked = "\n".join(f'sweep "{place}"' for place in places)
    return f"""{_COMMON}
busy=
sweep() {{
  [ -d "$1" ] && private "$1" || return 0
  drop_dead "$1"
  if [ -n "$(users "$1")" ]; then busy=1; return 0; fi
  for item in "$1"/*; do
    if [ -e "$item" ]; then rm -rf "$item" && echo "deleted $item"; fi
  done
  rmdir "$1" 2>/dev/null
}}
echo {_MARK}
{asked}
[ -z "$busy" ] || exit {BUSY}
exit 0
"""


def read_look(output: str) -> Seen:
    """What `look` found."""
    seen = Seen()
    lines = _answer(output)
    for line in lines:
        key, _, value = line.partition(" ")
        if key == "machine":
            seen.machine = value
        elif key == "kernel":
            seen.kernel = value
        elif key == "tool":
            seen.tools.add(value)
        elif key == "place":
            seen.places.append(Place(PurePosixPath(value)))
        elif seen.places:
            _read_place(seen.places[-1], key, value, lines)
    return seen


def _read_place(place: Place, key: str, value: str, lines: Iterator[str]) -> None:
    if key == "state":
        place.state = value
    elif key == "free":
        place.free_kib = int(value) if value.isdecimal() else None
    elif key == "other":
        place.has_others = True
    elif key == "listing":
        place.files = _read_listing(lines)


def read_contents(output: str) -> dict[str, str]:
    """Path -> SHA-256, as `contents` was told."""
    pairs = (line.split(maxsplit=1) for line in _answer(output))
    return {pair[1].lstrip("*"): pair[0] for pair in pairs if len(pair) == 2}


def read_clean(output: str) -> tuple[str, ...]:
    """What `clean` deleted."""
    return tuple(
        line.removeprefix("deleted ") for line in _answer(output) if line.startswith("deleted ")
    )


def _answer(output: str) -> Iterator[str]:
    lines = iter(output.splitlines())
    for line in lines:
        if line == _MARK:
            break
    return lines


def _read_listing(lines: Iterable[str]) -> dict[tuple[str, str], int]:
    """`ls -lnRA .`: a line `./folder:` before the files of each folder. Dates differ in their
    number of words from one `ls` to the next, so that a file is known by its last word."""
    files: dict[tuple[str, str], int] = {}
    folder = ""
    for line in lines:
        if line == "end":
            break
        words = line.split()
        if line.endswith(":") and line.startswith("."):
            folder = line[:-1]
        elif line.startswith("-") and len(words) > 6 and words[4].isdecimal():
            files[folder, words[-1]] = int(words[4])
    return files


def hashed(root: Path) -> dict[str, str]:
    """The files below a folder of this machine as `contents` gives those of a device."""
    return {
        f"./{path.relative_to(root).as_posix()}": hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


def listed(root: Path) -> dict[tuple[str, str], int]:
    """The files below a folder of this machine as `look` gives those of a device."""
    files: dict[tuple[str, str], int] = {}
    for path in root.rglob("*"):
        if path.is_file() and not path.is_symlink():
            folder = path.parent.relative_to(root).as_posix()
            name = "." if folder == "." else f"./{folder}"
            files[name, path.name.split()[-1]] = path.stat().st_size
    return files
