"""From every kind of source to three INT8 artifacts, by the commands that docs/exporters.md shows.

The commands are read out of the page, so that they cannot drift: those of its section "From source
to artifacts", each behind a comment that names it. Each runs in a process of its own, in the
project's folder, with `DATA` in its environment. The metric of the source is that of the original
in its own framework, on the same data (`source_metric.py`), beside that of the hub model and of the
files.

    python benchmarks/all_sources.py DATA [--only WORD ...] [--out DIR]

DATA is a folder like ../shared/data; what is absent is printed as not run.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "exporters.md"
SECTION = "From source to artifacts"
_BUILD = "edgewise build "
TARGETS = ("android", "apple", "arm")
COLUMNS = (
    "source", "kind", "export s", "parity", "argmax", "metric", "fp32 source", "fp32 hub",
    *TARGETS, "nodes",
)  # fmt: skip


@dataclass(frozen=True)
class Command:
    """A documented command: its name, what stands behind `edgewise build`, and the lines of shell
    before it that set variables."""

    name: str
    arguments: str
    setting: str


class NotRun(Exception):
    """Why a command was not run to its end."""


def documented(page: str) -> Iterator[Command]:
    """The commands of the section, in order."""
    section = re.search(rf"^## {SECTION}$(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    if section is None:
        raise SystemExit(f"{PAGE.name} has no section '{SECTION}'")
    for block in re.findall(r"^```sh$(.*?)^```$", section[1], re.MULTILINE | re.DOTALL):
        name = setting = ""
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("#"):
                name = line.removeprefix("#").strip()
            elif line.startswith(_BUILD):
                yield Command(name, line.removeprefix(_BUILD), setting)
            else:
                setting += f"{line}\n"


def placed(command: Command, data: Path) -> list[str]:
    """The words, as the shell gives them. Raises NotRun where a path below DATA is absent."""
    python = Path(sys.executable).parent
    environment = {**os.environ, "DATA": str(data), "PATH": f"{python}:{os.environ['PATH']}"}
    script = f'{command.setting}printf "%s\\0" {command.arguments}'
    told = subprocess.run(["bash", "-ec", script], env=environment, capture_output=True, text=True)
    if told.returncode:
        raise NotRun(told.stderr.strip().splitlines()[-1])
    words = told.stdout.split("\0")[:-1]
    for word in words:
        if word.startswith(str(data)) and not Path(word.partition("#")[0]).exists():
            raise NotRun(f"there is no {word.partition('#')[0]}")
    return words


def run(words: list[str], data: Path) -> str:
    """What a command prints. Raises NotRun with its error line."""
    done = subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        env={**os.environ, "DATA": str(data)},
        capture_output=True,
        text=True,
    )
    if done.returncode not in (0, 1) or not done.stdout:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise NotRun(lines[-1])
    return done.stdout


def cells(command: Command, data: Path, out: Path) -> list[str]:
    """The columns behind the name."""
    words = placed(command, data)
    report = json.loads(run(["-m", "edgewise", "build", *words, "--out", str(out), "--json"], data))
    parity, hub = report["parity"], report["model"]
    agreements = [row["argmax_agreement"] for row in parity["outputs"]]
    known = [value for value in agreements if value is not None]
    told = [
        hub["source_kind"],
        f"{report['timings']['export']:.1f}",
        "not measured"
        if parity["max_rel_error"] is None
        else f"{parity['max_rel_error']:.1e} ({parity['samples']} {parity['inputs']})",
        f"{min(known):.2%}" if known else "-",
    ]
    return [*told, *metrics(report, words, data, out), str(hub["nodes"])]


def metrics(report: dict[str, Any], words: list[str], data: Path, out: Path) -> list[str]:
    """Name of the metric, and its value for the source, the hub model and each artifact; without
    labels, the share of samples with the same argmax as the hub model."""
    accuracies = [report["targets"][name]["accuracy"] for name in TARGETS]
    if (hub := accuracies[0]["fp32"]) is None:
        shares = [accuracy["top1_agreement"] for accuracy in accuracies]
        return ["as fp32", "-", "-", *("-" if s is None else f"{s:.4f}" for s in shares)]
    source = float(run(["benchmarks/source_metric.py", str(out), "--", *words], data))
    values = [f"{accuracy['artifact']:.4f}" for accuracy in accuracies]
    return [report["evaluation"]["metric"], f"{source:.4f}", f"{hub:.4f}", *values]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", nargs="*", default=[], help="words of the names")
    parser.add_argument("--out", type=Path, default=None, help="folder that keeps what is built")
    arguments = parser.parse_args()
    print(f"| {' | '.join(COLUMNS)} |\n|{' --- |' * len(COLUMNS)}", flush=True)
    failed = False
    with tempfile.TemporaryDirectory() as scratch:
        for number, command in enumerate(documented(PAGE.read_text(encoding="utf-8"))):
            if arguments.only and not any(word in command.name for word in arguments.only):
                continue
            start = time.perf_counter()
            folder = (arguments.out or Path(scratch)) / str(number)
            try:
                row = cells(command, arguments.data.resolve(), folder)
            except NotRun as reason:
                failed = failed or not str(reason).startswith("there is no ")
                row = [f"not run: {reason}"]
            print(f"| {' | '.join([command.name, *row])} |", flush=True)
            print(f"{command.name}: {time.perf_counter() - start:.0f} s", file=sys.stderr)
    raise SystemExit(int(failed))


if __name__ == "__main__":
    main()
