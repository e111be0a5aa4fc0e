"""``python -m compressc``."""

import sys

from compressc.cli.main import main

sys.exit(main())
