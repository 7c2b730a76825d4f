"""What the figures are held against."""

from __future__ import annotations

from result_file import Bar

from .cases import BF16, EXACT, GROUPED, HEAD, LOGPROBS, MANY, MEMORY, OFFLINE, ONE, SHARING
from .findings import OURS, Findings

CPU, SPEED = "CPU ms/pair", "pairs/s"
PEERS = (
    (MANY, "vLLM", 0.70, 1.1),
    (BF16, "vLLM", 0.88, 1.0),
    (GROUPED, "vLLM", 0.45, 1.6),
    (MANY, "FastAPI + HF", 0.50, 2.2),
    (MANY, "Triton, padded", 0.17, 6.0),
)
"""Case, peer, the most CPU and the least pairs a second, as a ratio of ours to theirs."""
FORWARD_SHARE, OVERHEAD_MS = 1.15, 2.0


def bars_of(findings: Findings) -> tuple[list[Bar], list[str]]:
    """The bars, and the names of those that could not be measured."""
    bars: list[Bar] = []
    unmeasured: list[str] = []

    def bar(name: str, value: float | None, goal: str) -> None:
        if value is None:
            unmeasured.append(name)
        else:
            bars.append(Bar(name, value, goal))

    for case, peer, most_cpu, least_speed in PEERS:
        mine, theirs = (case, OURS), (case, peer)
        bar(f"{case}: CPU a pair, ours / {peer}", findings.ratio(CPU, mine, theirs), f"at most {most_cpu}")
        bar(f"{case}: pairs a second, ours / {peer}", findings.ratio(SPEED, mine, theirs), f"at least {least_speed}")
    served, ceiling = (MANY, OURS), (MANY, OFFLINE)
    bar("served / offline: CPU a token", findings.ratio("CPU us/token", served, ceiling), "at most 1.08")
    bar("served / offline: tokens a second", findings.ratio("tokens/s", served, ceiling), "at least 0.92")
    shared, apart = (SHARING, "shared"), (SHARING, "apart")
    bar(f"{SHARING}: CPU, shared / not", findings.ratio(CPU, shared, apart), "at most 0.42")
    bar(f"{SHARING}: pairs a second, shared / not", findings.ratio(SPEED, shared, apart), "at least 2.4")
    per_answer = findings.ratio("CPU us/answer token", (LOGPROBS, OURS), (LOGPROBS, "vLLM"))
    bar("log-probs: CPU an answer token, ours / vLLM", per_answer, "at most 0.49")
    one = findings.combined(_over_forward, (ONE, OURS), (ONE, f"{OFFLINE}, packed"))
    bar("1 caller: (p50 - 2 ms) / bare forward", one, f"at most {FORWARD_SHARE}")
    tail = findings.combined(lambda a, b: a["p99 ms"] / a["p50 ms"], served, served)
    bar("64 callers: p99 / p50", tail, "at most 1.3")
    bar("resident memory, ours / vLLM", findings.ratio("MB", (MEMORY, OURS), (MEMORY, "vLLM")), "at most 0.3")
    chunked, full = (HEAD, "chunked"), (HEAD, "full")
    bar("log-prob head: extra memory, MB", findings.combined(lambda a, b: a["MB"], chunked, full), "at most 300")
    bar("log-prob head: CPU, chunked / full", findings.ratio("CPU us/token", chunked, full), "at most 1.0")
    exact = (EXACT, f"{OURS}, float32")
    bar("largest difference to transformers, float32", findings.combined(_largest, exact, exact), "at most 1e-05")
    exact = (EXACT, f"{OURS}, log-probs")
    bar("largest difference of log-probs to float64", findings.combined(_largest, exact, exact), "at most 0.0001")
    return bars, unmeasured


def _over_forward(served: dict[str, float], forward: dict[str, float]) -> float:
    return (served["p50 ms"] - OVERHEAD_MS) / forward["p50 ms"]


def _largest(figures: dict[str, float], _: dict[str, float]) -> float:
    return figures["largest"]
