"""`python -m edgewise` and the `edgewise` command."""

from __future__ import annotations


def main() -> None:
    from edgewise.cli import run

    run()


if __name__ == "__main__":
    main()
