"""``python -m compressc``."""

import sys

from compressc.cli.start import start

sys.exit(start())
