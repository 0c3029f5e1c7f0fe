"""A report as one HTML file that needs nothing else: no network, no other file, no script but its own."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

_SCRIPTS = ("dom.js", "scores.js", "gallery.js", "row.js", "speed.js", "left_out.js", "facts.js", "main.js")
_ESCAPED = str.maketrans({sign: f"\\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"})


def page(report: Mapping[str, Any]) -> str:
    """The page of a :func:`jobs.reporting.report.report`.

    The browser is told to load nothing and to run no script but the page's own, by its hash. What rows hold is data
    alone: it comes as JSON, in which no character can end the element, and is put into the page as text.
    """
    script = "\n".join(["(() => {'use strict';", *map(_text, _SCRIPTS), "})();"])
    style = _text("page.css")
    return Template(_text("page.html")).substitute(
        policy=f"default-src 'none'; img-src data:; style-src {_hashed(style)}; script-src {_hashed(script)}",
        title=escape(f"{report['status']['job']}: report"),
        style=style,
        data=embedded(report),
        script=script,
    )


def embedded(content: Any) -> str:
    """JSON for a ``script`` element of HTML."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.translate(_ESCAPED)


def _text(name: str) -> str:
    return files("jobs.reporting").joinpath("web", name).read_text(encoding="utf-8")


def _hashed(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
