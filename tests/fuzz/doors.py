"""Doors: every way in which a file comes into compressc."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from compressc.cli.recipe_file import read_recipe
from compressc.errors import CompresscError, HandOverError
from compressc.frontend.archive import save
from compressc.passes.decore.trained_agents import TrainedAgents
from compressc.passes.gates.gated_units import find_gated_units
from compressc.passes.rl_mcts.network_file import read_network, save_network
from compressc.passes.rl_mcts.policy_value_network import PolicyValueNetwork
from compressc.plan import Plan
from compressc.runtime.errors import RuntimeFailure
from compressc.search.history_file import read_history
from compressc.store.records import Record
from compressc.sweeping.result import read_rows
from tests.fuzz.right_files import (
    agents_file,
    beside_idx,
    beside_plan,
    cost_table,
    history_lines,
    idx,
    images,
    npz,
    own_checkpoint,
    plan_files,
    read_store,
    recipe,
    reference,
    rows_document,
    safetensors,
    saved,
    store_bytes,
    tar_of_pictures,
    tiny_module,
    tiny_onnx,
    tiny_program,
    torch_bytes,
    write_onnx,
)
from tests.fuzz.sandbox import Work, command


@dataclass(frozen=True)
class Door:
    """One way in.

    Attributes:
        suffix: of the file that may be hostile.
        make: returns the bytes of a file that is right.
        enter: returns the work that reads it; gets the file, in a folder with everything else that
            the work needs.
        beside: writes what else is needed into the folder.
    """

    suffix: str
    make: Callable[[], bytes]
    enter: Callable[[Path], Work]
    beside: Callable[[Path], None] = lambda folder: None


def reading(read: Callable[[Path], object]) -> Callable[[Path], Work]:
    """Return the work of a function that reads a file, ended as the command line ends."""

    def enter(path: Path) -> Work:
        def work() -> int:
            try:
                read(path)
            except (CompresscError, RuntimeFailure) as error:
                print(f"compressc: error: {error}", file=sys.stderr)
                return error.exit_code
            return 0

        return work

    return enter


DATA = ("--no-measure", "--target-params", "0.6", "--pass", "magnitude", "-o", "out.onnx")


def read_agents(path: Path) -> None:
    TrainedAgents.load(path, tiny_program(), find_gated_units(tiny_program()))


def reading_folder(path: Path) -> Work:
    path.rename(path.with_name("train-images-idx3-ubyte.gz"))
    return command("compress", "model.pt2", "--data", ".", *DATA)


def _as_refusal(read: Callable[[], object]) -> None:
    """State of the house is read by code that takes ValueError for "begin anew"."""
    try:
        read()
    except (ValueError, KeyError, TypeError) as error:
        raise HandOverError(f"begins anew ({type(error).__name__})") from error


DOORS: dict[str, Door] = {
    "exported program": Door(
        ".pt2",
        lambda: saved(lambda path: save(tiny_program(), path)),
        lambda path: command("inspect", path.name),
    ),
    "checkpoint": Door(".pt", own_checkpoint, lambda path: command("inspect", path.name)),
    "state dict": Door(
        ".pt",
        lambda: torch_bytes(tiny_module().state_dict()),
        lambda path: command(
            "inspect", path.name, "--arch", "tiny:build", "--input-shape", "3,8,8"
        ),
        write_onnx,
    ),
    "safetensors": Door(
        ".safetensors",
        safetensors,
        lambda path: command(
            "inspect", path.name, "--arch", "tiny:build", "--input-shape", "3,8,8"
        ),
        write_onnx,
    ),
    "onnx, bench": Door(
        ".onnx",
        tiny_onnx,
        lambda path: command(
            "bench", path.name, "--rounds", "2", "--seconds", "0.1", "--no-memory"
        ),
    ),
    "onnx, compress": Door(
        ".onnx",
        tiny_onnx,
        lambda path: command(
            *("compress", path.name, "--target-params", "0.6", "--no-repair", "--no-measure"),
            *("--quiet", "-o", "out.onnx"),
        ),
    ),
    "onnx, verify": Door(
        ".onnx",
        tiny_onnx,
        lambda path: command("verify", path.name, "reference.npz"),
        lambda folder: (folder / "reference.npz").write_bytes(reference()) and None,
    ),
    "reference": Door(
        ".npz", reference, lambda path: command("verify", "model.onnx", path.name), write_onnx
    ),
    "labelled arrays": Door(
        ".npz",
        lambda: npz(images=images(), labels=np.arange(64) % 4),
        lambda path: command("compress", "model.pt2", "--data", path.name, *DATA),
        write_onnx,
    ),
    "arrays of inputs": Door(
        ".npz",
        lambda: npz(x=images().astype(np.float32)),
        lambda path: command("compress", "model.pt2", "--data", path.name, *DATA),
        write_onnx,
    ),
    "pictures in a tar": Door(
        ".tar.gz",
        tar_of_pictures,
        lambda path: command("compress", "model.pt2", "--data", path.name, *DATA),
        write_onnx,
    ),
    "idx": Door(".gz", idx, reading_folder, beside_idx),
    "cost table": Door(
        ".json",
        cost_table,
        lambda path: command(
            "compress",
            "model.pt2",
            "--target-latency",
            "0.99",
            "--cost-table",
            path.name,
            "--no-repair",
            "--no-measure",
            "-o",
            "out.onnx",
        ),
        write_onnx,
    ),
    "recipe": Door(".toml", recipe, reading(read_recipe)),
    "kept state": Door(".state", store_bytes, reading(read_store)),
    "record": Door(
        ".state",
        lambda: Record({"a": 1}, {"w": torch.ones(3)}).to_bytes(),
        reading(lambda path: _as_refusal(lambda: Record.from_bytes(path.read_bytes()))),
    ),
    "plan": Door(".json", plan_files, reading(Plan.load), beside_plan),
    "trained agents": Door(
        ".npz",
        agents_file,
        reading(
            lambda path: TrainedAgents.load(path, tiny_program(), find_gated_units(tiny_program()))
        ),
    ),
    "policy and value network": Door(
        ".safetensors",
        lambda: saved(lambda path: save_network(path, PolicyValueNetwork(2), 2)),
        reading(read_network),
    ),
    "journal": Door(".jsonl", history_lines, reading(read_history)),
    "rows of a sweep": Door(
        ".json",
        rows_document,
        reading(lambda path: _as_refusal(lambda: read_rows(path.read_text(errors="replace")))),
    ),
}
