"""The table of INT8 accuracy: each model from its source to three artifacts, by default settings.

    python -m benchmarks.accuracy DATA [--only kws vww] [--target arm] [--no-opponents]
                                       [--out DIR] [--json FILE]

Run in the project's folder. DATA is a folder like ../shared/data. Each model goes through `edgewise
build` in a process of its own: the metric of the float model and of each artifact as written to
disk, on all the evaluation data. Beside it stand other tools' results (`opponents`). A `*` marks an
artifact that loses more than the limit. Exit code 1 if any does.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.accuracy.integer_share import integer_share
from benchmarks.accuracy.opponents import TOOLS
from benchmarks.accuracy.rows import ROWS, NotRun, Row

ROOT = Path(__file__).resolve().parents[2]
TARGETS = ("android", "apple", "arm")
#: a drop of exactly the limit, in floating point
_SLACK = 1e-9


@dataclass
class Result:
    """What became of a row: metrics by target and by other tool; text where there is no number."""

    name: str
    limit: float
    fp32: float
    artifacts: dict[str, float]
    integer_shares: dict[str, float | None]
    opponents: dict[str, float | str] = field(default_factory=dict)

    def drop(self, value: float) -> float:
        return self.fp32 - value

    def missed(self, row: Row) -> list[str]:
        """Targets beyond the limit, or with too few integer products."""
        return [
            target
            for target, value in self.artifacts.items()
            if self.drop(value) > row.limit + _SLACK
            or (self.integer_shares[target] or 0.0) < row.integer_share
        ]

    def best(self) -> bool:
        """Whether no other tool's model loses less than the worst artifact."""
        others = [value for value in self.opponents.values() if isinstance(value, float)]
        return min(self.artifacts.values()) >= max(others, default=float("-inf")) - _SLACK


def run(words: Sequence[str], data: Path) -> str:
    """What a Python command prints; its last line of errors in NotRun where it fails."""
    done = subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        env={**os.environ, "DATA": str(data)},
        capture_output=True,
        text=True,
    )
    if done.returncode not in (0, 1) or not done.stdout.strip():
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise NotRun(lines[-1])
    return done.stdout


def measure(
    row: Row, data: Path, out: Path, targets: Sequence[str], tools: Sequence[str]
) -> Result:
    """Build the row's model into `out`. Raises NotRun where it cannot be."""
    out.mkdir(parents=True, exist_ok=True)
    arguments = row.arguments(data, out)
    build = ["-m", "edgewise", "build", *arguments, "--precision", "w8a8", "--json"]
    for target in targets:
        build += ["--target", target]
    report = json.loads(run([*build, "--out", str(out / "dist")], data))
    accuracies = {name: report["targets"][name]["accuracy"] for name in targets}
    stages = out / "dist" / "stages"
    result = Result(
        row.name,
        row.limit,
        accuracies[targets[0]]["fp32"],
        {name: accuracy["artifact"] for name, accuracy in accuracies.items()},
        {name: integer_share(stages / f"qdq-{name}.onnx") for name in targets},
    )
    for tool in tools:
        module = ["-m", "benchmarks.accuracy.opponents", tool, str(out / "dist")]
        try:
            result.opponents[tool] = float(run([*module, "--", *arguments], data).split()[-1])
        except NotRun as reason:
            result.opponents[tool] = str(reason)
    return result


def header(targets: Sequence[str], tools: Sequence[str]) -> str:
    columns = ["model", "metric", "fp32", *targets, "at most", "integer products", "met", *tools]
    if tools:
        columns.append("best or tied")
    return f"| {' | '.join(columns)} |\n|{' --- |' * len(columns)}"


def line(row: Row, result: Result) -> str:
    """One row in Markdown."""
    missed = result.missed(row)
    shares = [share for share in result.integer_shares.values() if share is not None]
    cells = [row.model, row.metric, f"{result.fp32:.4f}"]
    cells += [
        f"{value:.4f} ({-result.drop(value):+.4f}){'*' if target in missed else ''}"
        for target, value in result.artifacts.items()
    ]
    cells += [f"-{row.limit:.4f}", f"{min(shares):.0%}" if shares else "-"]
    cells.append("no" if missed else "yes")
    for value in result.opponents.values():
        known = isinstance(value, float)
        cells.append(f"{value:.4f} ({-result.drop(value):+.4f})" if known else f"not run: {value}")
    if result.opponents:
        cells.append("yes" if result.best() else "no")
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", nargs="*", choices=[row.name for row in ROWS], default=[])
    parser.add_argument("--target", nargs="*", choices=TARGETS, default=list(TARGETS))
    parser.add_argument("--no-opponents", action="store_true")
    parser.add_argument("--out", type=Path, help="folder that keeps what is built")
    parser.add_argument("--json", type=Path, help="file for the numbers")
    chosen = parser.parse_args()
    tools = () if chosen.no_opponents else tuple(TOOLS)
    results: list[Result] = []
    failed = False
    print(header(chosen.target, tools), flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        for row in ROWS:
            if chosen.only and row.name not in chosen.only:
                continue
            folder = (chosen.out or Path(scratch)).resolve() / row.name
            try:
                result = measure(row, chosen.data.resolve(), folder, chosen.target, tools)
            except NotRun as reason:
                failed = True
                print(f"| {row.model} | not run: {reason} |", flush=True)
                continue
            results.append(result)
            failed = failed or bool(result.missed(row))
            print(line(row, result), flush=True)
    if chosen.json:
        chosen.json.write_text(json.dumps([asdict(result) for result in results], indent=1))
    raise SystemExit(int(failed))


if __name__ == "__main__":
    main()
