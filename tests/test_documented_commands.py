"""Command lines in README and docs: each is understood as printed, and nearly all are run."""

from __future__ import annotations

import inspect
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import compressc
from compressc.backend.onnx_export import export_onnx, write_onnx
from compressc.cli import compress, sweep
from compressc.cli.main import COMMANDS, main
from compressc.models.registry import weights_path

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# What is not run, and why.
NOT_RUN = {
    "tls://": "names a cluster of somebody else",
    "resnet56": "a ResNet-56 on made inputs takes minutes",
}
# What is run as printed with these options behind it: hours are made seconds, nothing else changes.
SHORTENED = {
    "search": "--layers 3 --channels 4 --nodes 2 --epochs 1 --children 1 --controller-steps 1 "
    "--final-epochs 2 --final-ramp 0.5 --quiet",
    "demo": "--epochs 1",
    "ascai": "--trials 12 --quiet",
    "rl-mcts": "--trials 12 --quiet",
    "decore": "--epochs 2 --quiet",
    "snn": "--epochs 2 --quiet",
    "distill": "--epochs 2",
    # Least squares of five million parameters take minutes.
    "mynet:build": "--no-repair",
}
_TIMED = {"bench": "0.3", "profile": "0.2", "compress": "0.3", "sweep": "0.3", "search": "0.3"}


def documented() -> list[tuple[str, list[str]]]:
    """Return (page, words behind ``compressc``) of every command line."""
    lines: list[tuple[str, list[str]]] = []
    for page in PAGES:
        text = page.read_text().replace("\\\n", " ")
        for line in re.findall(r"^(?: {4})?compressc (.+)$", text, re.M):
            words = shlex.split(line, comments=True)
            if words and not words[0].startswith("/"):
                lines.append((page.name, words))
    return lines


LINES = documented()
UNIQUE = list(dict.fromkeys(tuple(words) for _, words in LINES))
RUN = [words for words in UNIQUE if not any(key in " ".join(words) for key in NOT_RUN)]


def test_nearly_all_lines_are_run() -> None:
    assert len(LINES) > 40
    left_out = [words for words in UNIQUE if words not in RUN]
    assert len(left_out) <= len(NOT_RUN)
    for key in (*NOT_RUN, *SHORTENED):
        assert any(key in " ".join(words) for words in UNIQUE), f"no line has {key} any more"


@pytest.mark.parametrize(("page", "words"), LINES, ids=lambda value: " ".join(value)[:60])
def test_every_line_is_understood(page: str, words: list[str]) -> None:
    command, arguments = words[0], words[1:]
    if command.startswith("-"):
        return
    if command not in COMMANDS:
        command, arguments = "compress", words
    module = {"compress": compress, "sweep": sweep}.get(command)
    if module is None:
        assert command in COMMANDS
        return
    parser = compress.build_parser() if module is compress else sweep._build_parser()
    module._add_passes(parser, arguments)
    parser.parse_whole(arguments)


class Wide(nn.Module):
    """Five million parameters that are quickly run."""

    def __init__(self, width: int = 1024) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, width // 16, 7, 8), nn.Conv2d(width // 16, width // 2, 3, 4)
        self.c, self.out = nn.Conv2d(width // 2, width, 3, 2), nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.c(self.b(self.a(x).relu()).relu()).relu()
        return self.out(hidden.mean((2, 3)))


def small_classifier(images: torch.Tensor, labels: torch.Tensor) -> nn.Module:
    """Return a network that has learned to read digits a little."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 48),
        nn.ReLU(),
        nn.Linear(48, 10),
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(40):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
    return model.eval()


MYTASK = """
import torch
import compressc


def build():
    torch.manual_seed(0)
    batches = [(torch.rand(40, 1, 8, 8), torch.randint(0, 10, (40,))) for _ in range(4)]
    loss = torch.nn.functional.cross_entropy
    metric = compressc.mean_of(lambda y, t: 100.0 * (y.argmax(1) == t))
    return compressc.LoaderTask(batches, batches[:1], batches[:1], loss, metric, "accuracy [%]")
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that the lines name."""
    from safetensors.torch import save_file
    from sklearn.datasets import load_digits

    place = tmp_path_factory.mktemp("documented")
    digits = load_digits()
    images = torch.tensor(digits.images[:300], dtype=torch.float32)[:, None] / 16
    model = small_classifier(images, torch.tensor(digits.target[:300]))
    shapes = ({0: torch.export.Dim.DYNAMIC},)
    exported = torch.export.export(model, (images[:2],), dynamic_shapes=shapes)
    torch.export.save(exported, place / "model.pt2")
    # Archives are known by what is in them, whatever they are called.
    shutil.copy(place / "model.pt2", place / "model.pt")
    source = inspect.getsource(Wide)
    (place / "mynet.py").write_text(
        f"import torch\nfrom torch import nn\n\n\n{source}\n\nbuild = Wide\n"
    )
    (place / "mytask.py").write_text(MYTASK)
    save_file(Wide().state_dict(), place / "w.safetensors")
    pairs = zip(digits.images[:300], digits.target[:300], strict=True)
    for number, (pixels, label) in enumerate(pairs):
        for folder in ("DIR", "mnist", "cifar10"):
            (place / folder / str(label)).mkdir(parents=True, exist_ok=True)
            picture = Image.fromarray((pixels * 255 / 16).round().astype(np.uint8))
            picture.resize((16, 16)).save(place / folder / str(label) / f"{number}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        quick = ["--quiet", "--no-measure", "--pass", "magnitude"]
        assert main(["model.pt", "--target-flops", "0.5", "-o", "small.onnx", *quick]) == 0
        shutil.copy("small.onnx", "original.onnx")
        sparse = ["model.pt", "--sparsity", "0.9", "--storage", "compact", "-o", "sparse.onnx"]
        assert main([*sparse, "--quiet", "--no-measure"]) == 0
        assert main(["verify", "--store", "small.onnx", "reference.npz"]) == 0
        save_file(Wide(128).state_dict(), "narrow.safetensors")
        narrow = ["narrow.safetensors", "--arch", "mynet:build", "--arch-arg", "width=128"]
        narrow += ["--input-shape", "3,224,224", "--target-flops", "0.9"]
        assert main([*narrow, "-o", "model.onnx", *quick]) == 0
        write_onnx(export_onnx(compressc.load("model.pt")), "whole.onnx")
        table = ["profile", "whole.onnx", "--cost-table", "phone.json", "--quiet"]
        assert main(table) == 0
    return place


def shortened(words: tuple[str, ...]) -> list[str]:
    """Return a line with what makes it short behind it."""
    extra = next((options for key, options in SHORTENED.items() if key in words), "").split()
    command = words[0] if words[0] in COMMANDS or words[0].startswith("-") else "compress"
    by_default = command in ("compress", "sweep") and not _decides(words)
    if "calibrate" in words or (by_default and "--no-repair" not in extra):
        # The default recipe ends with it.
        extra += ["--refine-steps", "2"]
    if command in _TIMED and "--cost-table" not in words:
        extra += ["--seconds", _TIMED[command]]
    if command in ("compress", "search") and not _is_measured(words):
        extra += ["--no-measure"]
    return [*words, *extra]


def _is_measured(words: tuple[str, ...]) -> bool:
    """Return whether a line is about time, or the first one of the README."""
    return "latency" in " ".join(words) or words == UNIQUE[0]


def _decides(words: tuple[str, ...]) -> bool:
    """Return whether a line names its passes, or zeros, which have a pass of their own."""
    return any(word in ("--pass", "--sparsity") for word in words)


@pytest.mark.slow
@pytest.mark.parametrize("words", RUN, ids=lambda words: " ".join(words)[:60])
def test_a_line_does_what_it_says(
    made: Path, tmp_path: Path, monkeypatch, capsys, words: tuple[str, ...]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(made / "cache"))
    shutil.copytree(made, tmp_path / "here", ignore=shutil.ignore_patterns("cache"))
    monkeypatch.chdir(tmp_path / "here")
    if {"--target-latency", "latency", "--depth", "depth"} & set(
        words
    ) and "--cost-table" not in words:
        # Half the time takes a network that needs more of it than a call does, and blocks.
        shutil.copy(weights_path("digits_resnet"), "model.pt")
    code = main(shortened(words))
    told = capsys.readouterr().err
    if "--int8" in words:
        # Not every processor is fast at int8.
        assert code in (0, 12), told
        return
    assert code == 0, told
    outputs = [words[place + 1] for place, word in enumerate(words) if word in ("-o", "--report")]
    for name in outputs:
        assert (tmp_path / "here" / name).exists()
