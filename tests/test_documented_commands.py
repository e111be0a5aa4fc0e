"""Command lines in README and docs: each is understood as printed, most are run as printed."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from compressc.cli import compress, sweep
from compressc.cli.main import COMMANDS, main
from compressc.models.registry import build, weights_path

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# Searches and long trainings take hours as printed; a device's cost table is not here; a ResNet-56
# on made inputs takes minutes; how long 5 ms are depends on who else uses the machine.
_LONG = re.compile(
    r"5ms|ascai|decore|rl-mcts|snn|--pass distill|--cost-table|resnet56|--space|fuzz"
)


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
RUN = [
    words
    for page, words in LINES
    if page in ("README.md", "latency.md", "onnx_in.md") and not _LONG.search(" ".join(words))
]


def test_there_are_lines() -> None:
    assert len(LINES) > 25
    assert len(RUN) > 12


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


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that the lines name."""
    from safetensors.torch import save_file
    from sklearn.datasets import load_digits

    place = tmp_path_factory.mktemp("documented")
    shutil.copy(weights_path("digits_resnet"), place / "model.pt")
    model = build("digits_resnet")
    model.load_state_dict(torch.load(place / "model.pt")["state_dict"])
    x = torch.randn(2, 1, 8, 8)
    shapes = ({0: torch.export.Dim.DYNAMIC},)
    exported = torch.export.export(model.eval(), (x,), dynamic_shapes=shapes)
    torch.export.save(exported, place / "model.pt2")
    import inspect

    source = inspect.getsource(Wide)
    (place / "mynet.py").write_text(
        f"import torch\nfrom torch import nn\n\n\n{source}\n\nbuild = Wide\n"
    )
    save_file(Wide().state_dict(), place / "w.safetensors")
    digits = load_digits()
    for number, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        (place / "DIR" / str(label)).mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray((pixels * 255 / 16).round().astype(np.uint8))
        picture.save(place / "DIR" / str(label) / f"{number}.png")
    return place


@pytest.fixture(scope="module")
def made(folder: Path) -> Path:
    """The same folder with the ONNX files and the reference that later lines read."""
    from safetensors.torch import save_file

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
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
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("words", RUN, ids=lambda words: " ".join(words)[:60])
def test_a_line_does_what_it_says(made: Path, monkeypatch, capsys, words: list[str]) -> None:
    monkeypatch.chdir(made)
    if words[0] == "verify" and "--store" not in words:
        # Lines before this one have written the file anew.
        assert main(["verify", "--store", *words[1:3]]) == 0
    code = main(words)
    told = capsys.readouterr().err
    if "--int8" in words:
        # Not every processor is fast at int8.
        assert code in (0, 12), told
        return
    assert code == 0, told
