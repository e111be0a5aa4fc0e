"""SNN: networks that read the weights of layers and switch their connections or neurons."""
