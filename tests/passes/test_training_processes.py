"""Two processes on one machine come to what one process comes to."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from compressc.errors import CompresscError, OutputError
from compressc.passes.distill import Distill
from compressc.passes.snn.switching import Snn
from compressc.passes.training.processes import Processes
from compressc.tasks.protocol import Batch
from tests.passes.training_child import SHARED, SWITCHED
from tests.passes.training_kit import make_context, make_program, make_task, quick

CHILD = Path(__file__).with_name("training_child.py")


@pytest.fixture(scope="module")
def ranks(tmp_path_factory) -> tuple[Path, list[dict]]:
    """What two gloo processes saved."""
    folder = tmp_path_factory.mktemp("ranks")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    subprocess.run(
        [*launch, str(CHILD), "distributed", str(folder)],
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"},
        timeout=300,
    )
    return folder, [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.mark.parametrize("which", ["tuned", "taught", "normed", "agents", "switched"])
def test_both_return_the_same_bits(ranks, which):
    one, other = (saved[which] for saved in ranks[1])
    assert list(one) == list(other)
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


def test_they_come_to_what_one_process_comes_to(ranks):
    program, task = make_program(norm=False, dropout=0.0), make_task(**SHARED)
    context = make_context(task=task, original=make_program(seed=1))
    tuned = quick(epochs=3)(program, context)
    taught = Distill(epochs=2, learning_rate=0.1, precision="float32")(tuned, context)
    for which, alone in (("tuned", tuned), ("taught", taught)):
        for name, tensor in alone.state().items():
            assert torch.allclose(ranks[1][0][which][name], tensor, atol=2e-6), (which, name)
            assert (tensor - program.state()[name]).abs().max() > 1e-3
    trained = [note for notes in ranks[1][0]["notes"] for note in notes]
    for step, note in zip((tuned, taught), trained, strict=True):
        alone = step.history[-1].notes[0]
        assert note.split(";")[:2] == alone.split(";")[:2]
        assert note.endswith("in 2 processes")


def test_agents_of_both_drop_the_same_channels(ranks):
    saved = ranks[1][0]["agents"]
    masks = [kept for name, kept in saved.items() if name.startswith("keep of ")]
    assert masks
    assert all(0 < int(kept.sum()) < len(kept) for kept in masks)
    program = make_program(norm=False, dropout=0.0)
    assert any(not torch.equal(saved[name], old) for name, old in program.state().items())


def test_switchers_of_both_come_to_what_those_of_one_process_come_to(ranks):
    program, context = make_program(norm=False, dropout=0.0), make_context(task=make_task(**SHARED))
    alone = Snn(precision="float32", **SWITCHED)(program, context)
    for name, tensor in alone.state().items():
        other = ranks[1][0]["switched"][name]
        assert torch.equal(tensor == 0, other == 0), name
        assert torch.allclose(tensor, other, atol=1e-5), name
    assert sum(int((tensor == 0).sum()) for tensor in alone.state().values()) > 300


def test_only_the_main_process_judges_and_writes(ranks):
    folder, saved = ranks
    assert saved[0]["validated"] > 0
    assert saved[1]["validated"] == 0
    assert len(list((folder / "work0").iterdir())) == 5
    assert not (folder / "work1").exists()


def rank_of(rank: int, count: int) -> Processes:
    processes = object.__new__(Processes)
    processes.rank, processes.count = rank, count
    return processes


@pytest.mark.parametrize("rows", [1, 2, 3, 7, 8])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_rows_are_shared_so_that_the_mean_stays_the_mean(rows, count):
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(rows, 2, generator=generator)
    batch: Batch = ((values,), {"label": values[:, 0], "scale": torch.ones(())})
    parts: list[Tensor] = []
    for rank in range(count):
        ((mine,), targets), factor = rank_of(rank, count).take_rows(batch)
        assert len(mine) >= 1
        assert torch.equal(targets["label"], mine[:, 0])
        assert targets["scale"].shape == ()
        parts.append(mine.mean() * factor)
    assert torch.allclose(torch.stack(parts).mean(), values.mean())


def test_alone_nothing_is_sent():
    alone = Processes()
    assert (alone.rank, alone.count, alone.is_main) == (0, 1, True)
    module = torch.nn.Linear(1, 1)
    assert alone.distribute(module) is module
    assert alone.share(module) is module
    assert alone.on_main(lambda: 3) == 3
    alone.require_same("anything", "program")
    with pytest.raises(OutputError, match="full"):
        alone.on_main(lambda: (_ for _ in ()).throw(OutputError("the disk is full")))


def test_another_use_of_accelerate_is_named(monkeypatch):
    import accelerate

    def refuse(**_settings):
        raise ValueError("AcceleratorState has already been initialized")

    monkeypatch.setattr(accelerate, "Accelerator", refuse)
    with pytest.raises(CompresscError, match=r"training cannot start.*run compressc in its own"):
        Processes()
