"""The parts of benchmarks/serving.py: model and texts, peers, load, measurement, table."""
