"""The report of `rewardplane data check` for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rich.box import SIMPLE
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..intervals import Estimate
from .check import DataReport, FileReport
from .lengths import QUANTILES
from .repeats import Found, Leak


def render(report: DataReport) -> Iterator[RenderableType]:
    for file in report.files:
        yield _file(file)
    if report.leaks:
        yield _leaks(report.leaks)


def bias_sentence(unit: str, bias: Estimate) -> str:
    """ "The longer answer wins in 70 % of pairs"."""
    interval = f"{100 * bias.low:.1f}–{100 * bias.high:.1f}"
    return (
        f"The longer answer (in {unit}) wins in {100 * bias.value:.1f} % of pairs; "
        f"95 % interval {interval}, {bias.count:,} pairs of different length."
    )


def _file(file: FileReport) -> RenderableType:
    head = Text(f"\n{file.file}\n", style="bold")
    head.append(f"{file.questions:,} questions, {file.answers:,} answers, {file.ranks.pairs:,} pairs", style="not bold")
    parts: list[RenderableType] = [head, _counts(file)]
    parts += [
        Text(bias_sentence(unit, bias), style="yellow" if not bias.low <= 0.5 <= bias.high else "")
        for unit, bias in file.longer_wins.items()
        if bias and unit != "words"  # which says what characters say
    ]
    return Group(*parts, _lengths(file))


def _counts(file: FileReport) -> Table:
    table = Table(box=SIMPLE, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(style="dim", overflow="fold")
    ranks, repeats = file.ranks, file.repeats
    table.add_row("answers a question", "", _listed(ranks.answers_per_question, "K="))
    for name, counts in (("split", file.splits), ("source", file.sources)):
        if counts:
            table.add_row(name, "", Text(_listed(counts)))
    table.add_row("tied pairs", f"{ranks.tied_pairs:,}", "left out of training")
    table.add_row("questions that all tie", _count(ranks.all_tied), "")
    table.add_row("answers without a rank", _count(ranks.unknown_ranks), "")
    table.add_row("questions without any pair", _count(ranks.without_pair), "training skips them")
    for name, found in (
        ("questions that came before", repeats.questions),
        ("rows that came before", repeats.rows),
        ("rows with one answer twice", repeats.answers),
        ("... with different ranks", repeats.contradictions),
        ("rows against an earlier one", repeats.opposed),
    ):
        table.add_row(name, _count(found.count), _places(found))
    table.add_row("answers with a Human turn", _count(file.answers_with_turns), "")
    return table


def _lengths(file: FileReport) -> Table:
    names = ["shortest", *(f"{100 * q:g} %" for q in QUANTILES[1:-1]), "longest"]
    table = Table("length of", "unit", *names, box=SIMPLE)
    for column in table.columns[2:]:
        column.justify = "right"
    for row in file.lengths:
        table.add_row(row.part, row.unit, *(f"{value:,.0f}" for value in row.quantiles))
    return table


def _leaks(leaks: tuple[Leak, ...]) -> RenderableType:
    table = Table(title="What two splits share", box=SIMPLE, title_justify="left")
    for name in ("rows of", "that share with", "rows", "a question", "question and answer", "an answer"):
        table.add_column(name, justify="left" if name in ("rows of", "that share with") else "right", overflow="fold")
    examples: list[RenderableType] = []
    for leak in leaks:
        found = (leak.questions, leak.pairs, leak.answers)
        table.add_row(
            Text(leak.heldout), Text(leak.seen), f"{leak.rows:,}", *(_share(one.count, leak.rows) for one in found)
        )
        places = list(dict.fromkeys(place for one in found for place in one.places))
        examples += [Text(f"{leak.heldout}: {', '.join(places[:5])}", style="dim")] if places else []
    return Group(table, *examples)


def _count(count: int) -> Text:
    return Text(f"{count:,}", style="yellow" if count else "green")


def _share(count: int, rows: int) -> Text:
    return Text(f"{count:,} ({100 * count / rows:.1f} %)", style="yellow" if count else "green")


def _places(found: Found) -> Text:
    more = ", ..." if found.count > len(found.places) else ""
    return Text(", ".join(found.places) + more)


def _listed(counts: Mapping[object, int] | Mapping[int, int] | Mapping[str, int], prefix: str = "") -> str:
    return ", ".join(f"{prefix}{name}:\N{NO-BREAK SPACE}{count:,}" for name, count in counts.items())
