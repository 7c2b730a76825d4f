"""A run as Prometheus sees it."""
