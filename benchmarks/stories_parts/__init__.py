"""Parts of benchmarks/stories.py."""
