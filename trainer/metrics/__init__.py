"""A run as Prometheus sees it."""

from .config import MetricsConfig
from .exporter import RunMetrics
from .written import Written

__all__ = ["MetricsConfig", "RunMetrics", "Written"]
