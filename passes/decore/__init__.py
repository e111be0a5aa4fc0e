"""DECORE: one agent per channel decides by reinforcement learning whether the channel stays."""
