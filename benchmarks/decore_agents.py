"""What the highest and the lowest agents are worth (section 5 of DECORE, figure 2).

Claim: removing the 1 % of channels with the highest agents hurts at least ten times more than
removing the 1 % with the lowest. Agents are trained once (``--mode constraint``: on the network as
it is), then channels are silenced without further training. Search-validation decides nothing here
and is used for the curve; the row of the claim is repeated on the test split.

    python benchmarks/decore_agents.py --data cifar10-jpeg.tar.gz --arch resnet20 \
        --model resnet20-cifar10-jpeg.th --mode constraint --agent-epochs 4 \
        --agent-rate 0.05 --baseline --batch-size 128
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import torch
from decore import add_options, open_data, show
from kit.records import describe_environment, read_record, write_record

import compressc
from compressc.contract.context import Context
from compressc.goal import Goal
from compressc.models.registry import architectures, weights_path
from compressc.passes.decore.agent_analysis import RemovalCost, analyse_agents
from compressc.passes.decore.agent_training import train_agents
from compressc.passes.decore.settings import DecoreSettings
from compressc.passes.gates.gated_units import find_gated_units
from compressc.program import Program
from compressc.tasks.classification import ClassificationTask

CLAIM = 0.01
SHARES = (CLAIM, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)


def on_test(task: ClassificationTask) -> ClassificationTask:
    """Return a task whose validation is the test split."""
    return dataclasses.replace(task, data=dataclasses.replace(task.data, val=task.data.test))


def described(row: RemovalCost) -> dict[str, Any]:
    lost = {
        "points_lost_without_highest": round(row.cost_of_highest, 3),
        "points_lost_without_lowest": round(row.cost_of_lowest, 3),
    }
    return {"share": row.share, "channels": row.count, "whole": round(row.whole, 3), **lost}


def analyse(program: Program, task: ClassificationTask, options: Any, seed: int) -> dict[str, Any]:
    agents = find_gated_units(program)
    settings = DecoreSettings(
        epochs=options.agent_epochs,
        mode=options.mode,
        penalty=options.penalty,
        agent_rate=options.agent_rate,
        first_weight=options.first_weight,
        sampling=options.sampling,
        baseline=options.baseline,
        learning_rate=options.learning_rate,
    )
    context = Context(Goal(seed=seed), task, show, options.work_dir, program)
    trained = train_agents(program, agents, settings, context)
    network = program if trained.network is None else program.with_state(trained.network)
    curve = analyse_agents(network, agents, trained.weights, task, SHARES)
    (claim,) = analyse_agents(network, agents, trained.weights, on_test(task), (CLAIM,))
    # Where nothing is lost, half an image of the split stands for it.
    least = max(claim.cost_of_lowest, 50.0 / len(task.data.test))
    return {
        "arch": options.arch,
        "data": task.data.name,
        "seed": seed,
        "agents": agents.count,
        "settings": dataclasses.asdict(settings),
        "notes": list(trained.notes),
        "search_validation": [described(row) for row in curve],
        "test": described(claim),
        "times_worse": round(claim.cost_of_highest / least, 1),
        "threads": options.threads,
        **describe_environment(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_options(parser)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    task = open_data(options)
    program = compressc.load(
        options.model or str(weights_path(options.arch)),
        arch=options.arch,
        input_shape=architectures()[options.arch].input_shape,
    )
    document = read_record(options.out)
    for seed in options.seed:
        row = analyse(program, task, options, seed)
        document["rows"].append(row)
        write_record(options.out, document)
        print(row["test"], f"{row['times_worse']} times worse", flush=True)


if __name__ == "__main__":
    main()
