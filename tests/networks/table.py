"""Measures the networks and prints the table of `docs/networks-<target>.md`.

python tests/networks/table.py                     # the whole page, to standard output
python tests/networks/table.py --write             # ... into the page in docs
python tests/networks/table.py --only minilm,unet  # the rows of some networks
python tests/networks/table.py --target apple      # in Core ML (or arm); on Android without
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo import apple_document, arm_document, document
from zoo.apple_figures import apple_figures_of
from zoo.arm_figures import arm_figures_of
from zoo.figures import figures_of
from zoo.table import NETWORKS


@dataclass(frozen=True)
class Page:
    """How the rows of a target are measured and written."""

    measure: Callable[[str], Any]
    line: Callable[[Any], str]
    document: Callable[[Any], str]
    path: Path


PAGES = {
    "android": Page(figures_of, document.line, document.document, document.DOCUMENT),
    "apple": Page(
        apple_figures_of, apple_document.line, apple_document.document, apple_document.DOCUMENT
    ),
    "arm": Page(arm_figures_of, arm_document.line, arm_document.document, arm_document.DOCUMENT),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="mainstream networks on a target")
    parser.add_argument("--only", default="", help="networks, separated by commas")
    parser.add_argument("--target", default="android", choices=sorted(PAGES))
    parser.add_argument("--write", action="store_true", help="write the page in docs")
    arguments = parser.parse_args()
    logging.getLogger("torch.__trace").disabled = True
    page = PAGES[arguments.target]
    chosen = list(filter(None, arguments.only.split(",")))
    if chosen:
        for name in chosen:
            print(page.line(page.measure(name)), flush=True)
        return
    rows = []
    for name in sorted(NETWORKS):
        print(f"{name} ...", file=sys.stderr, flush=True)
        rows.append(page.measure(name))
    if arguments.write:
        page.path.write_text(page.document(rows), encoding="utf-8")
    else:
        print(page.document(rows), end="")


if __name__ == "__main__":
    main()
