"""`python -m blendsearch`: the same as the command `blendsearch`."""

from __future__ import annotations

from blendsearch.cli import main

if __name__ == "__main__":
    main()
