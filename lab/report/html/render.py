"""The templates' side: all text that is not marked as HTML by us is made plain and escaped, and
nothing is loaded.

A policy in the page itself (Content-Security-Policy) lets only the style and the script run that
this package ships: should an escape ever be missing, the text still cannot act.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from lab import __version__
from lab.report.plain import plain


def render(template: str, **values: Any) -> str:
    """One page from the template of that name."""
    style, script = _shipped("page.css"), _shipped("page.js")
    return (
        _environment()
        .get_template(template)
        .render(
            **values,
            lab_version=__version__,
            style=Markup(style),  # noqa: S704  our own file
            script=Markup(script),  # noqa: S704  our own file
            policy=_policy(style, script),
        )
    )


def _policy(style: str, script: str) -> str:
    return "; ".join(
        (
            "default-src 'none'",
            f"style-src '{_digest(style)}'",
            f"script-src '{_digest(script)}'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


def _digest(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


@cache
def _shipped(name: str) -> str:
    return (files(__package__) / "templates" / name).read_text()


def _plain(value: object) -> object:
    """Whatever a template puts out that is not ours: nothing in it that a reader cannot see."""
    return value if isinstance(value, Markup) or not isinstance(value, str) else plain(value)


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        finalize=_plain,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
