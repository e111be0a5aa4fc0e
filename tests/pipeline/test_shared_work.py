"""What the main process makes, all processes get, an error as well."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from compressc.errors import DataError
from compressc.pipeline.shared_work import make_on_main

CHILD = """
import atexit, os, pathlib, sys
import torch
from compressc.errors import DataError
from compressc.pipeline.shared_work import make_on_main

rank, folder = os.environ["RANK"], pathlib.Path(sys.argv[1])

def tell_whether_left():
    joined = torch.distributed.is_initialized()
    (folder / f"end{rank}").write_text("still joined" if joined else "left")

# Registered first, it runs last, as the interpreter's own end does.
atexit.register(tell_whether_left)
made = make_on_main(lambda: (rank, torch.arange(3.0)))

def fail():
    raise DataError(f"said by {rank}")

try:
    make_on_main(fail)
except DataError as error:
    said = str(error)
(folder / f"rank{rank}").write_text(f"{made[0]} {made[1].tolist()} {said}")
"""


def test_a_single_process_makes_it_itself():
    assert make_on_main(lambda: 3) == 3
    with pytest.raises(DataError, match="no"):
        make_on_main(_fail)


def _fail() -> None:
    raise DataError("no")


def test_two_processes_get_what_the_main_one_made(tmp_path):
    child = tmp_path / "child.py"
    child.write_text(CHILD)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    subprocess.run(
        [*launch, str(child), str(tmp_path)],
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"},
        timeout=300,
    )
    texts = [(tmp_path / f"rank{rank}").read_text() for rank in (0, 1)]
    assert texts == ["0 [0.0, 1.0, 2.0] said by 0"] * 2
    # A process that ends while it is joined aborts now and then, after its work is done.
    assert [(tmp_path / f"end{rank}").read_text() for rank in (0, 1)] == ["left", "left"]
