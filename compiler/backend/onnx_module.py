"""An ONNX model as a torch module, so that a Task can judge what ONNX Runtime computes."""

from __future__ import annotations

from typing import Any

import onnx
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from compressc.program import Program
from compressc.runtime.session import create_session, run_session


class OnnxModule(nn.Module):
    """Runs an ONNX model on the CPU, in evaluation only; it has no parameters.

    Args:
        model: an export of ``program``.
        program: says how the outputs are nested.
        threads: of ONNX Runtime.
    """

    def __init__(self, model: onnx.ModelProto, program: Program, threads: int = 1) -> None:
        super().__init__()
        self._session = create_session(model.SerializeToString(), "the ONNX model", threads)
        self._names = [value.name for value in self._session.get_inputs()]
        with torch.no_grad():
            example = program.module().eval()(*program.example_inputs)
        leaves, self._structure = pytree.tree_flatten(example)
        self._is_tensor = [isinstance(leaf, Tensor) for leaf in leaves]
        self._others = [None if isinstance(leaf, Tensor) else leaf for leaf in leaves]

    def forward(self, *inputs: Any) -> Any:
        """Return what the ONNX model computes, nested as the original's result.

        Raises:
            RuntimeFailure: if the inputs do not fit the model.
        """
        tensors = [leaf for leaf in pytree.tree_leaves(inputs) if isinstance(leaf, Tensor)]
        feeds = {
            name: tensor.detach().cpu().numpy()
            for name, tensor in zip(self._names, tensors, strict=True)
        }
        arrays = iter(run_session(self._session, feeds, "the ONNX model"))
        leaves = [
            torch.from_numpy(next(arrays)) if is_tensor else other
            for is_tensor, other in zip(self._is_tensor, self._others, strict=True)
        ]
        return pytree.tree_unflatten(leaves, self._structure)
