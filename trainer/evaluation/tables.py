"""The numbers of an evaluation as tables of text, for the terminal and for the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

from .names import UNKNOWN, interval, length_name, number
from .report import Part, RewardReport


@dataclass(frozen=True)
class Rows:
    title: str
    columns: tuple[str, ...]  # the first column names the row, the others hold numbers
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def headline(report: RewardReport) -> Rows:
    estimates = (
        ("pairs in people's order", report.accuracy, "chance 0.5"),
        ("... by length alone", report.length_baseline, "the longer answer first"),
        ("... ranks shuffled", report.shuffled_control, "control: must hold 0.5"),
        ("best answer first (top-1)", report.top_1, f"chance {report.top_1_chance:.3f}"),
        ("Kendall's tau-b", report.kendall_tau_b, "-1 to 1, chance 0"),
    )
    rows = [(name, number(one), interval(one), note) for name, one, note in estimates]
    rows += [
        (
            "calibration error (ECE)",
            f"{report.calibration.expected_error:.3f}",
            UNKNOWN,
            "of sigmoid(margin); 0 is best",
        ),
        ("ranking loss", f"{report.loss:.3f}", UNKNOWN, "nats; 0.693 for equal scores"),
    ]
    note = f"{report.questions:,} questions, {report.answers:,} answers, {report.accuracy.count:,} pairs."
    for count, told in (
        (report.questions_without_pair, "questions without two different ranks"),
        (report.cut_questions, "questions cut to the model's length"),
        (report.dropped_answers, "answers left out, longer than the model takes"),
    ):
        note += f" {count:,} {told}." if count else ""
    return Rows("All pairs", ("", "value", "95 % interval", ""), tuple(rows), note)


def breakdowns(report: RewardReport) -> list[Rows]:
    tables = [_parts("By answers a question (K)", "K", report.by_k)]
    if report.by_source:
        tables.append(_parts("By source", "source", report.by_source))
    columns = ("times as long", "pairs", "model", "95 % interval", "length only", "better longer", "better shorter")
    rows = tuple(
        (
            length_name(part.low, part.high), f"{part.accuracy.count:,}", number(part.accuracy),
            interval(part.accuracy), number(part.length_baseline), number(part.better_longer),
            number(part.better_shorter),
        )
        for part in report.by_length
    )  # fmt: skip
    note = "Of the longer answer to the shorter one, in characters. The last two: accuracy by which one is better."
    return [*tables, Rows("By difference in length", columns, rows, note)]


def for_terminal(rows: Rows) -> Table:
    """Cells are text, never markup."""
    table = Table(title=Text(rows.title), box=SIMPLE, caption=Text(rows.note), title_justify="left")
    for i, name in enumerate(rows.columns):
        table.add_column(Text(name), justify="right" if i and name else "left")
    for row in rows.rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def _parts(title: str, name: str, parts: Sequence[Part]) -> Rows:
    columns = (name, "questions", "pairs", "model", "95 % interval", "length only")
    rows = tuple(
        (
            part.name or "(none)", f"{part.accuracy.questions:,}", f"{part.accuracy.count:,}", number(part.accuracy),
            interval(part.accuracy), number(part.length_baseline),
        )
        for part in parts
    )  # fmt: skip
    return Rows(title, columns, rows)
