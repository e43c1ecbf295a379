"""Pullbacks to fill in.

python -m minigrad.exercises                       # lists them
python -m minigrad.exercises multiply              # writes multiply.py; fill it in, and:
python -m minigrad.exercises --check multiply.py
"""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path

from minigrad.exercises import check_apart, hand_out, listing


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m minigrad.exercises", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    one = parser.add_mutually_exclusive_group()
    one.add_argument("name", nargs="?", metavar="NAME", help="write NAME.py to fill in; without it, list all")
    one.add_argument("--check", type=Path, metavar="FILE", help="grade an exercise that was filled in")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # where a terminal has no √
    args = parsed(arguments)
    try:
        if args.check:
            right, report = check_apart(args.check)
            print(report)
            return 0 if right else 1
        print(hand_out(args.name, Path()) if args.name else listing())
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
