"""`rewardplane data check` and `rewardplane data convert`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from ..conversation import question_as_row
from ..data import RankedAnswers, of_split, read_ranked
from ..explain import data_explained
from ..jsonl import BadData
from .check import check
from .lengths import Measure, characters, words
from .tables import render

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Looks at files of ranked answers.")


def main(argv: list[str]) -> int:
    """Gives the exit status: 0 when all files can be read, 1 when one cannot, 2 for wrong flags."""
    try:
        app(args=argv, prog_name="rewardplane data")
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@app.command(name="check")
def check_command(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="JSON Lines, Parquet or `datasets` directory.")
    ],
    heldout: Annotated[Path | None, typer.Option(help="Another split: what it shares with the files is told.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write the report as JSON.")] = False,
    tokenizer: Annotated[Path | None, typer.Option(help="Directory of a model: lengths in its tokens, too.")] = None,
) -> None:
    """Reads files whole and reports K, ties, repeats, length bias and leaks between splits."""
    with data_explained():
        units: dict[str, Measure] = {"characters": characters, "words": words}
        if tokenizer:
            units["tokens"] = _token_counter(tokenizer)
        report = check(files, heldout, units)
    if as_json:
        typer.echo(json.dumps(asdict(report), indent=2, ensure_ascii=False))
        return
    console = Console()
    for part in render(report):
        console.print(part)


@app.command(name="convert")
def convert_command(
    file: Annotated[Path, typer.Argument(help="Rankings in any form that `check` reads.")],
    out: Annotated[Path, typer.Argument(help="JSON Lines to be written.")],
    split: Annotated[str | None, typer.Option(help="Only rows whose `split` is this.")] = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave bad rows out; each is named.")] = False,
) -> None:
    """Writes rankings as {"question", "answers", "ranks"}, one a line."""
    skipped: list[str] | None = [] if skip_bad else None
    with data_explained():
        if out.exists():
            raise BadData(f"{out} exists: nothing is overwritten")
        rows = of_split(read_ranked(file, skipped), split, file)
    for complaint in skipped or ():
        typer.echo(f"left out: {complaint}", err=True)
    with out.open("w", encoding="utf-8", newline="\n") as lines:
        lines.writelines(json.dumps(as_row(row), ensure_ascii=False) + "\n" for row in rows)
    typer.echo(f"{len(rows)} rankings: {out}")


def as_row(row: RankedAnswers) -> dict[str, Any]:
    """What `read_ranked` reads as the same ranking."""
    labels = {key: value for key, value in (("source", row.source), ("split", row.split)) if value}
    return {"question": question_as_row(row.question), "answers": list(row.answers), "ranks": list(row.ranks), **labels}


def _token_counter(directory: Path) -> Measure:
    # transformers takes seconds to import.
    from transformers import AutoTokenizer

    if not directory.is_dir():  # transformers would look for it on its hub
        raise BadData(f"--tokenizer {directory} is no directory")
    tokenizer = AutoTokenizer.from_pretrained(directory)

    def count(texts: Sequence[str]) -> list[int]:
        return [len(ids) for ids in tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]]

    return count
