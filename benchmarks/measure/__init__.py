"""What the benchmarks share: servers, clients, runs side by side, and how results are shown."""
