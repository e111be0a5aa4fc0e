"""What tests of training start as processes of their own.

``python training_child.py distributed FOLDER`` trains as one of several processes;
``python training_child.py killed FOLDER`` is killed again and again while it trains.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
torch.set_num_threads(1)

from compressc.goal import Goal  # noqa: E402
from compressc.passes.decore.agent_pruning import Decore  # noqa: E402
from compressc.passes.distill import Distill  # noqa: E402
from compressc.passes.snn.switching import Snn  # noqa: E402
from tests.passes.training_kit import (  # noqa: E402
    epochs_done,
    make_context,
    make_program,
    make_task,
    quick,
)

KILLED = {"epochs": 24, "ema": 0.9, "optimizer": "adamw", "learning_rate": 0.01}
# Batches of 33, and three images in the last one: neither can be split evenly.
SHARED = {"train": 102, "batch_size": 33}
SWITCHED = {"epochs": 4, "layers": "all", "sparsity": 0.4, "switch_every": 2}


def train_distributed(folder: Path) -> None:
    rank = os.environ["RANK"]
    program, task = make_program(norm=False, dropout=0.0), make_task(**SHARED)
    validated: list[float] = []
    real = type(task).validate

    def validate(self, module):
        validated.append(real(self, module))
        return validated[-1]

    type(task).validate = validate
    context = make_context(folder / f"work{rank}", task=task, original=make_program(seed=1))
    tuned = quick(epochs=3)(program, context)
    taught = Distill(epochs=2, learning_rate=0.1, precision="float32")(tuned, context)
    normed = quick(epochs=2)(make_program(), context)
    settings = {"epochs": 2, "agent_rate": 0.2, "first_weight": 1.5, "precision": "float32"}
    dropped = Decore(**settings)(program, replace(context, goal=Goal(macs=0.6)))
    switched = Snn(precision="float32", **SWITCHED)(program, context)
    masks = {f"keep of {name}": torch.tensor(kept) for name, kept in dropped.plan.keep.items()}
    torch.save(
        {
            "tuned": tuned.state(),
            "taught": taught.state(),
            "normed": normed.state(),
            "switched": switched.state(),
            "agents": {**dropped.state(), **masks},
            "notes": [step.notes for step in taught.history if step.notes],
            "validated": len(validated),
        },
        folder / f"rank{rank}.pt",
    )


def train_killed(folder: Path) -> None:
    """Start, kill at a random moment after an epoch or more, start again; at last let it finish."""
    moments, epochs = random.Random(0), []
    work = folder / "work"
    for kill in (True, True, True, True, False):
        before = written(work)
        child = os.fork()
        if not child:
            trained = quick(**KILLED)(make_program(), make_context(work))
            torch.save(trained.state(), folder / "killed.pt")
            os._exit(0)
        if kill:
            while written(work) == before:
                time.sleep(0.001)
            time.sleep(moments.uniform(0, 0.1))
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        (file,) = work.glob("finetune-*.state")
        epochs.append(epochs_done(file))
    (folder / "epochs").write_text(" ".join(map(str, epochs)))


def written(work: Path) -> list[int]:
    return [file.stat().st_mtime_ns for file in work.glob("finetune-*.state")]


if __name__ == "__main__":
    {"distributed": train_distributed, "killed": train_killed}[sys.argv[1]](Path(sys.argv[2]))
