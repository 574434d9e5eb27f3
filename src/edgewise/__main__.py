"""`python -m edgewise` and the `edgewise` command."""

from __future__ import annotations

import sys


def main() -> None:
    try:
        from edgewise.cli import run
        from edgewise.imports import claim_process

        claim_process()
        run()
    except KeyboardInterrupt:  # while Python was still importing, or already leaving
        sys.stderr.write("error: interrupted\n")
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
