"""Options that say how a model file is to be read; shared by the commands that load one."""

from __future__ import annotations

import argparse
import ast
from typing import TYPE_CHECKING, Any

from compressc.clock import ProgressCallback, inside, listening
from compressc.errors import UsageError

if TYPE_CHECKING:
    from compressc.program import Program


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add the model file and the options that say how to read it."""
    parser.add_argument(
        "model",
        help="a .pt2 (torch.export), an .onnx file, a checkpoint (.pt, .pth, .th, .safetensors), "
        "or a folder of Hugging Face transformers",
    )
    group = parser.add_argument_group("reading the model")
    group.add_argument(
        "--arch",
        metavar="NAME",
        help="the architecture of a state_dict: a name from `compressc architectures`, timm:NAME, "
        "torchvision:NAME, ultralytics:NAME.yaml, or module:factory from your own code; not needed "
        "where the checkpoint names it",
    )
    group.add_argument(
        "--key",
        metavar="NAME",
        help="which entry of the checkpoint holds the weights, where there are several, such as "
        "state_dict_ema or generator",
    )
    group.add_argument(
        "--arch-arg",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="an argument of the factory (repeatable), such as num_classes=100",
    )
    group.add_argument(
        "--input-shape",
        metavar="C,H,W",
        help="shape of one example without the batch, such as 3,224,224; several inputs joined "
        "by ';'",
    )
    group.add_argument(
        "--trust-pickle",
        action="store_true",
        help="unpickle whole modules. Unpickling runs whatever code the file contains, with your "
        "rights: only for files that you made or whose maker you trust",
    )


def load_model(options: argparse.Namespace, progress: ProgressCallback) -> Program:
    """Load the model that the options name, telling what is done.

    Raises:
        HandOverError, CaptureError: if it cannot be used.
    """
    told = f"loading {options.model}"
    progress(0, 0, told)
    from compressc.frontend.handover import load
    from compressc.frontend.input_shape import parse_input_shape

    shape = parse_input_shape(options.input_shape) if options.input_shape else None
    with listening(inside(progress, told)):
        return load(
            options.model,
            arch=options.arch,
            arch_kwargs=dict(_read_argument(text) for text in options.arch_arg),
            input_shape=shape,
            trust_pickle=options.trust_pickle,
            seed=getattr(options, "seed", 0),
            key=options.key,
        )


def _read_argument(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key.isidentifier():
        raise UsageError(f"--arch-arg '{text}': write KEY=VALUE, such as num_classes=100")
    try:
        return key, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return key, value
