"""What a comparison of two rounds found, and its table."""

from __future__ import annotations

from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

from ..config import Section
from .record import Measured


class Side(Section):
    """The policy of one round."""

    round: int
    updates: int
    """Of the checkpoint that was compared."""
    digest: str
    kl_nats: Measured
    """To the reference, an answer."""
    judge: Measured
    """Mean of what the judge gives an answer."""
    score: float
    """Mean under the second round's reward model."""
    distinct_bigrams_ratio: float


class Comparison(Section):
    judge: str
    """Who decides which answer wins."""
    prompts: int
    answers_a_prompt: int
    first: Side
    second: Side
    win_rate: Measured
    """Of the second round's answers over the first's, ties counted one half."""
    reward_accuracy: dict[str, dict[str, Measured | None]]
    """By rankings ("held-out rankings 2"), then by reward model ("RM 1"): pairs in the ranker's order."""


def comparison_table(found: Comparison) -> Table:
    """For a terminal; cells are text, never markup."""
    first, second = found.first, found.second
    note = (
        f"{found.prompts:,} held-out prompts, {found.answers_a_prompt} answers each; judge: {found.judge}. "
        "In brackets: 95 % interval over prompts."
    )
    table = Table(box=SIMPLE, caption=Text(note), title_justify="left")
    for name in ("", f"round {first.round}", f"round {second.round}"):
        table.add_column(Text(name))
    rows = [
        ("PPO updates", str(first.updates), str(second.updates)),
        ("win rate of the second", "", str(found.win_rate)),
        ("judge", str(first.judge), str(second.judge)),
        ("KL to the reference, nats", str(first.kl_nats), str(second.kl_nats)),
        (f"score of RM {second.round}", f"{first.score:.3f}", f"{second.score:.3f}"),
        ("distinct bigrams", f"{first.distinct_bigrams_ratio:.3f}", f"{second.distinct_bigrams_ratio:.3f}"),
    ]
    for rankings, models in found.reward_accuracy.items():
        cells = ["–" if one is None else str(one) for one in models.values()]
        rows.append((f"RM on {rankings}", *cells))  # type: ignore[arg-type]
    for row in rows:
        table.add_row(*map(Text, row))
    return table
