"""Start-up time of `edgewise --help` against importing the two libraries that it needs.

Both commands run alternately, so that a busy machine slows both; the ratio is of the minima.

    python benchmarks/startup.py [--rounds 15]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

COMMANDS = {
    "import typer, rich": [sys.executable, "-c", "import typer, rich"],
    "edgewise --help": [sys.executable, "-m", "edgewise", "--help"],
}


def seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    best = dict.fromkeys(COMMANDS, float("inf"))
    for _ in range(rounds):
        for name, command in COMMANDS.items():
            best[name] = min(best[name], seconds(command))
    for name, value in best.items():
        print(f"{name:22s} {value * 1000:7.0f} ms")
    base, ours = best.values()
    print(f"ratio                  {ours / base:7.2f}   (limit 1.50)")


if __name__ == "__main__":
    main()
