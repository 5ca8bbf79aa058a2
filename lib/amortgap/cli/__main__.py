"""`python -m amortgap.cli` is the command `amortgap`."""

import sys

from amortgap.cli import main

if __name__ == "__main__":
    sys.exit(main())
