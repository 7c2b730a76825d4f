"""`rewardplane eval reward`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track

from ..explain import explained

REPORT, PAGE = "evaluation.json", "evaluation.html"

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Measures what was trained.")


def main(argv: list[str]) -> int:
    """Gives the exit status: 0 when measured, 1 for bad data or a model that cannot be used, 2 for wrong flags."""
    try:
        app(args=argv, prog_name="rewardplane eval")
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@app.callback()
def common() -> None:
    """Without a callback, typer would make the only command the whole program."""


# torch takes seconds to import: not before the flags are known to be right.


@app.command()
def reward(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Ranked answers, as for training.")],
    model: Annotated[Path | None, typer.Option(help="Directory of a reward model.")] = None,
    target: Annotated[str | None, typer.Option(help="Address of a reward server, host:port.")] = None,
    tokenizer: Annotated[
        Path | None, typer.Option(help="With --target: the served model's directory; cuts long questions here.")
    ] = None,
    directory: Annotated[Path, typer.Option(help="Gets evaluation.json and evaluation.html.")] = Path("runs/eval"),
    split: Annotated[str | None, typer.Option(help="Only rows whose `split` is this.")] = None,
    device: Annotated[str, typer.Option(help="With --model: a torch device; auto is a GPU if there is one.")] = "auto",
    micro_batch_tokens: Annotated[int, typer.Option(help="With --model: tokens of one forward.", min=1)] = 4096,
    timeout_s: Annotated[float, typer.Option(help="With --target: deadline of one call.", min=0.001)] = 300.0,
) -> None:
    """Compares a reward model's scores with people's ranks."""
    if (model is None) == (target is None):
        raise typer.BadParameter("give either --model or --target")
    if tokenizer is not None and target is None:
        raise typer.BadParameter("--tokenizer goes with --target; a model directory has its own")
    console = Console()

    def progress(chunks: Iterable[Sequence[int]]) -> Iterable[Sequence[int]]:
        return track(chunks, "scoring", console=console, transient=True)

    with explained():
        from ..data import of_split, read_ranked
        from .page import write_page
        from .report import measure
        from .scoring import score_with_model, score_with_server
        from .tables import breakdowns, for_terminal, headline

        rows = []
        for path in files:
            own = of_split(read_ranked(path), split, path)
            # Several files are sources of their own, unless their rows say better.
            rows += [replace(row, source=row.source or path.stem) for row in own] if len(files) > 1 else own
        if model is not None:
            scored = score_with_model(model, rows, progress, device=device, micro_batch_tokens=micro_batch_tokens)
        else:
            assert target is not None
            scored = score_with_server(target, rows, progress, tokenizer=tokenizer, timeout_s=timeout_s)
        report = measure(scored, [str(path) for path in files], str(model or target))
        directory.mkdir(parents=True, exist_ok=True)
        text = json.dumps(asdict(report), indent=1, ensure_ascii=False, allow_nan=False)
        (directory / REPORT).write_text(text + "\n", encoding="utf-8")
        write_page(report, directory / PAGE)
    for table in (headline(report), *breakdowns(report)):
        console.print(for_terminal(table))
    console.print(f"{directory / PAGE}", markup=False, highlight=False, soft_wrap=True)
