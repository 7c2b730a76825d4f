"""Where a run shows its metrics."""

from __future__ import annotations

from pydantic import NonNegativeFloat, NonNegativeInt

from ..config import Section


class MetricsConfig(Section):
    """`http://host:port/metrics`, in the text format of Prometheus; of a run of several processes, rank 0 serves it."""

    port: NonNegativeInt | None = None
    """0 is any free port; unset serves nothing."""
    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 for every interface."""
    last_scrape_s: NonNegativeFloat = 0.0
    """How long a run that has ended waits for one more scrape, so that its last figures and its end are seen: at least
    the scrape interval. 0 does not wait."""
