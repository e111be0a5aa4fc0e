"""The architectures of compressc by name, with what the tests hold them to."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from compressc.models import (
    alexnet,
    densenet,
    digits,
    googlenet,
    lenet,
    mobilenet,
    resnet,
    resnet_cifar,
    senet,
    shufflenet,
    vgg,
)

_MNIST = (1, 28, 28)
_CIFAR = (3, 32, 32)
_IMAGENET = (3, 224, 224)


@dataclass(frozen=True)
class Architecture:
    """One network that can be built by name.

    Attributes:
        name: the name in ``build`` and in checkpoints (``arch``).
        factory: returns a freshly initialised network in train mode.
        input_shape: one example without the batch axis, as (channels, height, width).
        num_classes: width of the default output.
        source: the paper the network is from.
        params: parameters of the default form.
        macs: multiply-accumulates of convolutions and linear layers for one example.
    """

    name: str
    factory: Callable[..., nn.Module]
    input_shape: tuple[int, ...]
    num_classes: int
    source: str
    params: int
    macs: int


def architectures() -> dict[str, Architecture]:
    """Return every architecture by name."""
    rows = (
        (lenet.lenet300_100, _MNIST, 10, "LeCun et al. 1998", 266_610, 266_200),
        (lenet.lenet5, _MNIST, 10, "LeCun et al. 1998", 431_080, 2_293_000),
        (lenet.lenet5_caffe, _MNIST, 10, "LeCun et al. 1998", 431_080, 2_293_000),
        (vgg.vgg16_cifar, _CIFAR, 10, "Simonyan 2015, Li et al. 2017", 14_987_722, 313_463_808),
        (vgg.vgg19_cifar, _CIFAR, 10, "Simonyan 2015, Liu et al. 2017", 20_035_018, 398_136_320),
        (resnet_cifar.resnet20, _CIFAR, 10, "He et al. 2016", 269_722, 40_551_040),
        (resnet_cifar.resnet56, _CIFAR, 10, "He et al. 2016", 853_018, 125_485_696),
        (resnet_cifar.resnet110, _CIFAR, 10, "He et al. 2016", 1_727_962, 252_887_680),
        (resnet.resnet18, _IMAGENET, 1000, "He et al. 2016", 11_689_512, 1_814_073_344),
        (resnet.resnet34, _IMAGENET, 1000, "He et al. 2016", 21_797_672, 3_663_761_408),
        (resnet.resnet50, _IMAGENET, 1000, "He et al. 2016", 25_557_032, 4_089_184_256),
        (densenet.densenet40, _CIFAR, 10, "Huang et al. 2017", 1_059_298, 282_917_328),
        (densenet.densenet121, _IMAGENET, 1000, "Huang et al. 2017", 7_978_856, 2_834_161_664),
        (googlenet.googlenet_cifar, _CIFAR, 10, "Szegedy et al. 2015", 6_166_250, 1_521_756_160),
        (mobilenet.mobilenet_v1, _IMAGENET, 1000, "Howard et al. 2017", 4_231_976, 568_740_352),
        (mobilenet.mobilenet_v2, _IMAGENET, 1000, "Sandler et al. 2018", 3_504_872, 300_774_272),
        (shufflenet.shufflenet_v2_x1_0, _IMAGENET, 1000, "Ma et al. 2018", 2_278_604, 144_907_992),
        (senet.se_resnet20, _CIFAR, 10, "Hu et al. 2018", 271_738, 40_553_056),
        (alexnet.alexnet_cifar, _CIFAR, 10, "Krizhevsky et al. 2012", 2_472_266, 14_957_056),
        (digits.digits_resnet, (1, 8, 8), 10, "He et al. 2016", 696_042, 6_573_312),
    )
    return {row[0].__name__: Architecture(row[0].__name__, *row) for row in rows}


def build(name: str, **kwargs: Any) -> nn.Module:
    """Build an architecture by name, freshly initialised and in train mode.

    Args:
        name: a key of ``architectures()``.
        kwargs: handed to the factory, for example ``num_classes``.

    Raises:
        ValueError: if no architecture has that name, or it does not take these arguments.
    """
    known = architectures()
    if name not in known:
        raise ValueError(f"unknown architecture {name!r}; known are {', '.join(sorted(known))}")
    try:
        return known[name].factory(**kwargs)
    except TypeError as error:
        raise ValueError(f"architecture {name!r} cannot be built so: {error}") from error


def weights_path(name: str) -> Path | None:
    """Return the checkpoint that ships for an architecture, or None where none does."""
    path = Path(__file__).parent / "weights" / f"{name}.pt"
    return path if path.is_file() else None
