"""Weight initialisation shared by the families that train from scratch."""

from torch import nn


def initialize_kaiming(model: nn.Module) -> None:
    """Draw convolution weights from He's normal distribution; batch norms start as identity.

    Source: He et al., "Delving Deep into Rectifiers", ICCV 2015 (fan-out form, as for ResNets).
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
