"""docs/rounds.md: every flag is there, and its settings are settings."""

from __future__ import annotations

import re
from pathlib import Path

from rewardplane.trainer.config import load_config
from rewardplane.trainer.rounds.command import app
from rewardplane.trainer.rounds.config import RoundConfig
from typer.main import get_command

PAGE = (Path(__file__).parents[3] / "docs" / "rounds.md").read_text(encoding="utf-8")


def test_every_flag_is_documented() -> None:
    commands = get_command(app).commands.items()  # type: ignore[attr-defined]
    flags = [f"{name} {o}" for name, c in commands for p in c.params for o in p.opts if o.startswith("--")]
    assert len(flags) >= 10
    assert not [flag for flag in flags if f"`{flag}`" not in PAGE]


def test_the_settings_shown_are_settings(tmp_path: Path) -> None:
    shown = re.search(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    assert shown is not None
    (tmp_path / "round.toml").write_text(shown[1])
    assert load_config(tmp_path / "round.toml", RoundConfig).sample.answers == 9
