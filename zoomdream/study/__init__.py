"""Looking into networks and at results: neurons, layers, metrics, benchmarks."""
