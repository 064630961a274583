"""`python -m vqdna_hf` is the command `vqdna`."""

import sys

from vqdna_cli.main import main

if __name__ == "__main__":
    sys.exit(main())
