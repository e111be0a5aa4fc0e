"""From a Program with a plan to a smaller Program."""
