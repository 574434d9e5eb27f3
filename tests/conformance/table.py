"""Runs the selected cases and prints the table of `docs/operators-<target>.md`.

python tests/conformance/table.py                    # the whole table, to standard output
python tests/conformance/table.py --write            # ... into the page in docs
python tests/conformance/table.py --only LSTM,GRU    # every case of some operators
python tests/conformance/table.py --match attention  # every case whose name holds a word
python tests/conformance/table.py --target apple     # through another target; android without
python tests/conformance/table.py --target apple --system iOS16   # ... in its operations
"""

from __future__ import annotations

import argparse
from collections import Counter

from node_tests.document import document, page_of
from node_tests.evaluate import evaluate
from node_tests.selection import DTYPES, cases


def main() -> None:
    parser = argparse.ArgumentParser(description="ONNX node tests through a target")
    parser.add_argument("--only", default="", help="operators, separated by commas")
    parser.add_argument("--match", default="", help="a part of the cases' names")
    parser.add_argument("--target", default="android", choices=tuple(DTYPES))
    parser.add_argument("--system", default="", help="apple only: the oldest system, such as iOS16")
    parser.add_argument("--write", action="store_true", help="write the page in docs")
    arguments = parser.parse_args()
    operators = set(filter(None, arguments.only.split(",")))
    chosen = [
        case.name
        for case in cases(arguments.target)
        if (not operators or case.operator in operators) and arguments.match in case.name
    ]
    options = {"deployment_target": arguments.system} if arguments.system else {}
    results = evaluate(chosen, arguments.target, options)
    if operators or arguments.match:
        for result in results:
            print(f"{result.verdict:8}{result.name}  {result.reason}")
        print(dict(Counter(result.verdict for result in results)))
    elif arguments.write:
        page = document(results, arguments.target)
        page_of(arguments.target).write_text(page, encoding="utf-8")
    else:
        print(document(results, arguments.target), end="")


if __name__ == "__main__":
    main()
