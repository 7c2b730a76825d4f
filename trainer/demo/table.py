"""The demo's tables, for the terminal and as Markdown for the README."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

from ..report.contents import ResultTable
from .judge import Judgement
from .yardsticks import PairwiseAccuracy

UNKNOWN = "–"


@dataclass(frozen=True)
class JudgedRun:
    name: str
    judgement: Judgement
    score: float | None  # mean score of the reward model; None where it was not asked
    kl_nats: float | None  # an answer, to the reference; None where it is not known


def accuracy_table(accuracies: Mapping[str, PairwiseAccuracy]) -> ResultTable:
    """Compares rankers of the held-out film texts, best first."""
    ordered = sorted(accuracies.items(), key=lambda item: -item[1].ratio)
    counted = next(iter(accuracies.values()))
    return ResultTable(
        title="Who ranks held-out film texts as people do",
        columns=("ranker", "pairs in people's order", "95 % interval"),
        rows=tuple((name, f"{a.ratio:.3f}", f"{a.low_ratio:.3f}–{a.high_ratio:.3f}") for name, a in ordered),
        note=f"Share of pairs of {counted.texts:,} texts with different mean ratings; chance is 0.5. "
        "Intervals: bootstrap over texts; for one person, over random persons.",
    )


def judged_table(runs: Sequence[JudgedRun]) -> ResultTable:
    """Compares sets of answers to the same held-out questions; all must have equally many."""
    rows = [
        (
            run.name,
            f"{run.judgement.mean_compound:+.3f}",
            f"{run.judgement.positive_ratio:.2f}",
            UNKNOWN if run.score is None else f"{run.score:+.2f}",
            UNKNOWN if run.kl_nats is None else f"{run.kl_nats:.1f}",
            f"{run.judgement.distinct_bigrams_ratio:.2f}",
        )
        for run in runs
    ]
    return ResultTable(
        title="Answers to held-out questions, judged by a lexicon that never saw the reward model",
        columns=("answers of", "judge", "share positive", "score", "KL, nats", "distinct bigrams"),
        rows=tuple(rows),
        note=f"{runs[0].judgement.answers:,} answers each. Judge: mean compound of the VADER lexicon over "
        "question and answer, from -1 to 1. Positive: compound of 0.05 or more. Score: mean of the reward "
        "model, 0 for reference answers in training. KL: to the reference, an answer; for best of n its "
        "upper bound ln n - (n - 1) / n. Distinct bigrams: different pairs of neighbours over all of them.",
    )


def terminal_tables(parts: Sequence[ResultTable]) -> list[Table]:
    """Gives the tables for rich's Console.print; cells are text, never markup."""
    tables = []
    for part in parts:
        table = Table(title=Text(part.title), box=SIMPLE, caption=Text(part.note), title_justify="left")
        for i, name in enumerate(part.columns):
            table.add_column(Text(name), justify="right" if i else "left")
        for row in part.rows:
            table.add_row(*(Text(cell) for cell in row))
        tables.append(table)
    return tables


def markdown_tables(parts: Sequence[ResultTable]) -> str:
    """Gives the same tables in GitHub's Markdown, each with its title and note."""
    return "\n".join(_markdown(table) for table in parts)


def _markdown(table: ResultTable) -> str:
    lines = [
        f"**{_cell(table.title)}**",
        "",
        _line(table.columns),
        "|---|" + "---:|" * (len(table.columns) - 1),
        *(_line(row) for row in table.rows),
        "",
        *([table.note, ""] if table.note else []),
    ]
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_cell(cell) for cell in cells) + " |"


def _cell(text: str) -> str:
    """A bar or a line break would end a cell."""
    return text.replace("|", "\\|").replace("\n", " ")
