"""`python -m install.source ROOT` prints where the engine's source tree is."""

import sys
from pathlib import Path

from install.engine import unpacked_source
from install.errors import SetupError


def main() -> int:
    """Print the folder; what is done on the way goes to stderr."""
    result, sys.stdout = sys.stdout, sys.stderr
    try:
        tree = unpacked_source(Path(sys.argv[1]))
    except SetupError as refusal:
        print(f"edged: {refusal}")
        return 1
    print(tree, file=result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
