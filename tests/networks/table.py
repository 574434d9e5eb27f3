"""Measures the networks and prints the table of `docs/networks-android.md`.

python tests/networks/table.py                     # the whole page, to standard output
python tests/networks/table.py --write             # ... into docs/networks-android.md
python tests/networks/table.py --only minilm,unet  # the rows of some networks
"""

from __future__ import annotations

import argparse
import logging
import sys

from zoo.document import DOCUMENT, document, line
from zoo.figures import Figures, figures_of
from zoo.table import NETWORKS


def main() -> None:
    parser = argparse.ArgumentParser(description="mainstream networks on Android")
    parser.add_argument("--only", default="", help="networks, separated by commas")
    parser.add_argument("--write", action="store_true", help=f"write docs/{DOCUMENT.name}")
    arguments = parser.parse_args()
    logging.getLogger("torch.__trace").disabled = True
    chosen = list(filter(None, arguments.only.split(",")))
    if chosen:
        for name in chosen:
            print(line(figures_of(name)), flush=True)
        return
    rows: list[Figures] = []
    for name in sorted(NETWORKS):
        print(f"{name} ...", file=sys.stderr, flush=True)
        rows.append(figures_of(name))
    if arguments.write:
        DOCUMENT.write_text(document(rows), encoding="utf-8")
    else:
        print(document(rows), end="")


if __name__ == "__main__":
    main()
