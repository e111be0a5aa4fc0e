import torch
from torch import nn

from compressc.passes.reconstruction.batch_norm_statistics import follow, measure_statistics


def values(scale: float, shift: float, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [
        shift + scale * torch.randn(count, 3, 4, 4, generator=generator, dtype=torch.double)
        for count in (5, 9)
    ]


def norm() -> nn.BatchNorm2d:
    layer = nn.BatchNorm2d(3, eps=0.0).double().eval()
    layer.running_mean.copy_(torch.tensor([1.0, -2.0, 3.0]))
    layer.running_var.copy_(torch.tensor([1.0, 4.0, 0.5]))
    return layer


def test_statistics_are_those_of_all_batches_together():
    parts = values(3.0, 7.0)
    together = torch.cat(parts)
    mean, variance = measure_statistics(parts)
    torch.testing.assert_close(mean, together.mean((0, 2, 3)))
    torch.testing.assert_close(variance, together.var((0, 2, 3), unbiased=False))


def test_outputs_keep_their_mean_and_variance():
    before, after = values(1.0, 0.0), values(0.5, 2.0, seed=1)
    layer = norm()
    wanted = measure_statistics([layer(x) for x in before])
    mean, variance = follow(layer.running_mean, layer.running_var, before, after)
    layer.running_mean.copy_(mean)
    layer.running_var.copy_(variance)
    found = measure_statistics([layer(x) for x in after])
    torch.testing.assert_close(found, wanted)


def test_unchanged_values_keep_their_statistics():
    layer, same = norm(), values(1.0, 0.0)
    mean, variance = follow(layer.running_mean, layer.running_var, same, same)
    torch.testing.assert_close(mean, layer.running_mean)
    torch.testing.assert_close(variance, layer.running_var)


def test_a_channel_that_died_is_not_blown_up():
    layer = norm()
    dead = [torch.zeros_like(x) for x in values(1.0, 0.0)]
    _, variance = follow(layer.running_mean, layer.running_var, values(1.0, 0.0), dead)
    assert (variance >= 0.01 * layer.running_var).all()
