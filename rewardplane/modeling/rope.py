"""Rotary positions whose angles depend on more than a token's place."""

from __future__ import annotations

from typing import Any


def remembers_lengths(config: Any) -> bool:
    """Whether the model keeps rotary frequencies that it changes with the longest sequence it sees."""
    layers = getattr(config, "rope_parameters", None) or {}
    kinds = [layers, *(value for value in layers.values() if isinstance(value, dict))]
    names = [kind.get("rope_type") or "" for kind in kinds]
    return any("dynamic" in name or name == "longrope" for name in names)
