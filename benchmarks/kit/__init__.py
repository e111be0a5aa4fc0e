"""What the benchmarks share: records of where numbers come from, files, turns and clocks."""
