"""RL-MCTS: units to remove, chosen by a tree search that a policy and value network guides.

Source:
    Wang and Li, Channel Pruning via Lookahead Search Guided Reinforcement Learning, WACV 2022.
"""
