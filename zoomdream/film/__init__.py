"""Films and pictures from start to end: read -> move -> dream -> write, and resuming."""
