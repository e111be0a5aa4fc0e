"""Optimizers and learning rates from torch, set up for fine-tuning."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    LinearLR,
    LRScheduler,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
)

from compressc.passes.training.settings import TrainingSettings

# Kernels that update all of a tensor in one go exist for these devices.
_FUSED = ("cpu", "cuda")
# "plateau": a loss counts as better from this share below the best one on; otherwise the rate falls
# by the factor, once so many epochs have been no better.
_BETTER, _FALL, _WORSE_EPOCHS = 0.01, 1 / 3, 2


def make_optimizer(
    module: nn.Module, settings: TrainingSettings, *, partial: bool = False
) -> Optimizer:
    """Return an optimizer that decays matrices and kernels, but neither biases nor norms.

    Args:
        module: on the device it will be trained on.
        settings: optimizer, learning rate and weight decay.
        partial: whether some parameters get no gradient in some steps; they stay as they are then.
    """
    parameters = [p for p in module.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": settings.decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    # Fused kernels want a momentum of all parameters or of none.
    fused = not partial and all(p.device.type in _FUSED for p in parameters)
    if settings.optimizer == "adamw":
        return AdamW(groups, lr=settings.peak_rate, fused=fused)
    momentum = settings.momentum
    return SGD(groups, lr=settings.peak_rate, momentum=momentum, nesterov=momentum > 0, fused=fused)


def make_schedule(optimizer: Optimizer, settings: TrainingSettings, steps: int) -> LRScheduler:
    """Return the learning rate over ``steps`` steps.

    A warm-up of fewer than two steps is left out. "plateau" steps by epochs, given their losses.
    """
    if settings.schedule == "plateau":
        return ReduceLROnPlateau(
            optimizer, factor=_FALL, patience=_WORSE_EPOCHS - 1, threshold=_BETTER
        )
    rising = round(settings.warmup * steps)
    if rising < 2:
        rising = 0
    if settings.schedule == "one-cycle":
        return OneCycleLR(
            optimizer,
            max_lr=settings.peak_rate,
            total_steps=steps,
            pct_start=rising / steps,
            # Fine-tuning starts from good weights: momentum stays as it is.
            cycle_momentum=False,
        )
    falling = CosineAnnealingLR(optimizer, T_max=steps - rising)
    if not rising:
        return falling
    warming = LinearLR(optimizer, start_factor=1 / rising, total_iters=rising)
    return SequentialLR(optimizer, [warming, falling], milestones=[rising])
