"""``python -m l0quad``: the command line."""

import sys

from l0quad.app.cli import main

if __name__ == "__main__":
    sys.exit(main())
