"""Gates: real numbers, which may learn, put into a network to multiply activations or weights."""
