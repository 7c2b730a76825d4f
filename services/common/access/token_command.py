"""`rewardplane token`: makes a bearer token, and the line of the server's file that lets it in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from .token_file import new_token

app = typer.Typer(add_completion=False)


def token(argv: list[str]) -> int:
    """Gives the exit status: 0, or 2 for wrong flags."""
    try:
        app(args=argv, prog_name="rewardplane token")
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@app.command()
def make(
    identity: Annotated[str, typer.Argument(help="Its name in the access file.")],
    to: Annotated[Path, typer.Option(help="File to write the token into; it must not exist.")],
    days: Annotated[float | None, typer.Option(min=0, help="How long it is valid; default: for ever.")] = None,
) -> None:
    """Writes a new token into a file that only its owner can read, and says the line for the server's token file."""
    expires = datetime.now(UTC) + timedelta(days=days) if days is not None else None
    secret, line = new_token(identity, expires)
    to.touch(mode=0o600, exist_ok=False)
    to.write_text(secret + "\n")
    typer.echo(str(line))
