"""Reference architectures with trained weights; torch only."""
