"""Batch norm statistics measured anew."""

from __future__ import annotations

from dataclasses import replace

import torch

import compressc
from compressc.coupling.graph import couple
from compressc.search.batch_norms import reestimate_statistics, with_statistics
from compressc.search.candidates import build_candidate
from compressc.search.skeleton import strip_program
from tests.plans import random_plan
from tests.search_kit import trained


def test_one_batch_gives_the_statistics_of_a_training_step():
    program, task = trained()
    (batch,) = list(task.calibration_batches(64, 0))
    # Batch norms of PyTorch itself, told to forget what they knew.
    module = program.module().train()
    for node in module.graph.nodes:
        if node.target is torch.ops.aten.batch_norm.default:
            node.update_arg(6, 1.0)
    module.recompile()
    module(*batch)
    found = strip_program(program)
    reestimate_statistics(found, [batch])
    wanted = dict(module.named_buffers())
    for name, buffer in found.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            torch.testing.assert_close(buffer, wanted[name])
            assert not torch.allclose(buffer, program.state()[name])


def test_batches_count_alike():
    program, task = trained()
    batches = list(task.calibration_batches(192, 0))
    assert len(batches) == 3
    together, alone = strip_program(program), []
    reestimate_statistics(together, batches)
    for batch in batches:
        one = strip_program(program)
        reestimate_statistics(one, [batch])
        alone.append(dict(one.named_buffers())["norm.running_mean"])
    mean = torch.stack(alone).mean(0)
    torch.testing.assert_close(dict(together.named_buffers())["norm.running_mean"], mean)


def test_the_original_keeps_its_own():
    program, task = trained()
    before = {name: tensor.clone() for name, tensor in program.state().items()}
    plan = random_plan(couple(program), 2)
    reestimate_statistics(strip_program(program), list(task.calibration_batches(64, 0)))
    with_statistics(program.with_plan(plan), list(task.calibration_batches(64, 0)))
    assert all(torch.equal(tensor, before[name]) for name, tensor in program.state().items())


def test_the_result_is_the_candidate_that_was_judged():
    program, task = trained()
    batches = list(task.calibration_batches(128, 0))
    plan = couple(program).fit_ranks(replace(random_plan(couple(program), 2), rank={"wide": (2,)}))
    candidate = build_candidate(strip_program(program), couple(program), plan, 1000)
    reestimate_statistics(candidate, batches)
    decided = with_statistics(program.with_plan(plan), batches)
    x = torch.randn(4, 3, 8, 8)
    found = compressc.lower(decided).graph_module(x)
    torch.testing.assert_close(found, candidate(x), rtol=1e-4, atol=1e-4)
    stale = compressc.lower(program.with_plan(plan)).graph_module(x)
    assert not torch.allclose(found, stale, atol=1e-2)
    assert decided.plan == plan


def test_networks_without_batch_norms_stay_as_they_are():
    module = compressc.capture(torch.nn.Linear(3, 2), (torch.randn(2, 3),))
    stripped = strip_program(module)
    reestimate_statistics(stripped, [(torch.randn(4, 3),)])
    assert dict(stripped.named_buffers()) == {}
