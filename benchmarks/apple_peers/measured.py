"""Runs a command; prints its wall seconds and its peak memory in bytes, as JSON.

A small process of its own: what a child uses at most is counted from the size of its parent.

    python benchmarks/apple_peers/measured.py COMMAND ...
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time


def main() -> None:
    start = time.perf_counter()
    process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    said = process.stderr.read() if process.stderr is not None else b""
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(said.decode(errors="replace"))
    print(json.dumps([seconds, usage.ru_maxrss * 1024]))


if __name__ == "__main__":
    main()
