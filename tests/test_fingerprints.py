"""Fingerprints change with everything that counts, and with nothing else."""

from __future__ import annotations

from dataclasses import replace

import torch

from compressc.fingerprints import fingerprint
from tests.passes.training_kit import make_program


def test_every_bit_counts():
    program = make_program()
    batch = ((torch.zeros(2, 3),), torch.zeros(2, dtype=torch.int64))
    base = fingerprint(program, {"a": 1}, batch, ("finetune", 0))
    assert fingerprint(make_program(), {"a": 1}, batch, ("finetune", 0)) == base
    weights = {name: tensor.clone() for name, tensor in program.state().items()}
    weights["fc.bias"][0] += 1e-7
    changed = [
        fingerprint(program.with_state(weights), {"a": 1}, batch, ("finetune", 0)),
        fingerprint(program, program, {"a": 1}, batch, ("finetune", 0)),
        fingerprint(program, {"a": 2}, batch, ("finetune", 0)),
        fingerprint(program, {"b": 1}, batch, ("finetune", 0)),
        fingerprint(program, {"a": 1}, (batch[0], batch[1] + 1), ("finetune", 0)),
        fingerprint(program, {"a": 1}, (batch[0], batch[1].float()), ("finetune", 0)),
        fingerprint(program, {"a": 1}, batch, ("finetune", 1)),
    ]
    assert len({base, *changed}) == 1 + len(changed)


def test_constraints_and_zeros_count():
    program = make_program()
    held = replace(program.constraints, multiple_of=program.constraints.multiple_of + 1)
    sparse = replace(program, sparse_weights=("fc.weight",))
    found = {fingerprint(one) for one in (program, program.with_constraints(held), sparse)}
    assert len(found) == 3


def test_where_a_value_stands_counts():
    assert fingerprint(1, (2, 3)) != fingerprint((1, 2), 3)
    assert fingerprint("12", "3") != fingerprint("1", "23")
