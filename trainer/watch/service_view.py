"""What the terminal shows of a server."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from .scrape import Scrape, quantile, rate

MEBI = 2**20


def render_service(name: str, before: Scrape, now: Scrape) -> RenderableType:
    """The time between two scrapes."""
    info = next((sample.labels for sample in now.samples if sample.name == "rewardplane_model_info"), None)
    head = Text(name, style="bold")
    if info is None:
        return Group(head, Text("no model is loaded yet"))
    version = now.total("rewardplane_policy_version") or 0
    head.append(f"  {info['role']}  {info['model_name']} ({info['dtype']}), policy version {version:g}", style="")
    table = Table(box=None, show_header=False, pad_edge=False)
    for label, value in (*_work(before, now), *_waiting(before, now), *_trouble(before, now), *_memory(now)):
        table.add_row(label, value)
    return Group(head, table)


def _work(before: Scrape, now: Scrape) -> list[tuple[str, str]]:
    computed, shared, filler = (
        rate(before, now, "rewardplane_tokens_total", kind=kind) for kind in ("computed", "shared", "filler")
    )
    busy = rate(before, now, "rewardplane_forward_seconds_sum")
    return [
        ("calls", f"{rate(before, now, 'rewardplane_caller_calls_total'):,.1f} a second"),
        ("pairs", f"{rate(before, now, 'rewardplane_batch_pairs_sum'):,.1f} a second"),
        ("tokens", f"{computed:,.0f} a second, {_share(shared, shared + computed)} saved by sharing, "
                   f"{_share(filler, filler + computed)} padding"),
        ("device", f"{min(busy, 1.0):.0%} busy"),
    ]  # fmt: skip


def _waiting(before: Scrape, now: Scrape) -> list[tuple[str, str]]:
    tokens, limit = now.total("rewardplane_queue_tokens") or 0, now.total("rewardplane_queue_limit_tokens") or 0
    pairs = now.total("rewardplane_queue_pairs") or 0
    rows = [("queue", f"{pairs:,.0f} pairs, {tokens:,.0f} of {limit:,.0f} tokens")]
    for label, metric in (
        ("wait", "rewardplane_queue_wait_seconds"),
        ("forward", "rewardplane_forward_seconds"),
        ("call", "grpc_server_handling_seconds"),
    ):
        half, most = (quantile(before, now, q, metric) for q in (0.5, 0.99))
        if half is not None and most is not None:
            rows.append((label, f"{1000 * half:,.1f} ms, 99th percentile {1000 * most:,.1f} ms"))
    return rows


def _trouble(before: Scrape, now: Scrape) -> list[tuple[str, str]]:
    rows = []
    for label, metric in (("refused", "rewardplane_refused_total"), ("dropped", "rewardplane_dropped_total")):
        old = before.by("reason", metric)
        grown = {reason: n - old.get(reason, 0.0) for reason, n in now.by("reason", metric).items()}
        told = ", ".join(f"{n:g} {reason}" for reason, n in grown.items() if n > 0)
        rows.append((label, told or "none"))
    return rows


def _memory(now: Scrape) -> list[tuple[str, str]]:
    used, total = (now.total("rewardplane_device_memory_bytes", kind=kind) or 0.0 for kind in ("used", "total"))
    return [("memory", f"{used / MEBI:,.0f} of {total / MEBI:,.0f} MiB")]


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.0%}" if whole else "0%"
