"""Pages from templates: one file each, no script, nothing fetched, in the style of `page_style`."""

from __future__ import annotations

import re
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from .page_style import STYLE

HEAD = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
"""

# Control characters, and halves of surrogate pairs, which UTF-8 cannot carry.
UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def write_html(path: Path, template: str, **values: object) -> None:
    """Fills a Jinja template, which begins with its title, and gets `style` and the filter `printable` too."""
    # Autoescape: titles, names and texts of models are text, whatever they look like.
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["printable"] = lambda text: UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)
    page = environment.from_string(HEAD + template).render(style=Markup(STYLE), **values)
    path.write_text(page, encoding="utf-8", newline="\n")
