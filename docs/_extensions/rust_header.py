"""The directive ``rust-header``: the header of a Rust module as a part of the manual.

The header is the block of ``//!`` lines with which a file begins. It is written in the part of Markdown that this crate
uses there: paragraphs, headings, fenced text, lists, tables, code, and links within the crate, which are shown as code.
The options ``from`` and ``to`` name the headings between which it is taken, without the one of ``to``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar

from docutils import nodes
from docutils.parsers.rst import Directive, directives
from docutils.statemachine import StringList
from sphinx.util.nodes import nested_parse_with_titles

ROOT = Path(__file__).parents[2]
_LINK = re.compile(r"\[(`[^`]+`)\](?:\([^)]*\))?")
_CODE = re.compile(r"(?<!`)`([^`]+)`(?!`)")
_PATH = re.compile(r"``(?:crate::|super::|self::)?(?:\w+::)*(\w+)``")


class RustHeader(Directive):
    """Parses the header of a Rust file as a part of the document."""

    required_arguments = 1
    option_spec: ClassVar = {"from": directives.unchanged_required, "to": directives.unchanged_required}

    def run(self) -> list[nodes.Node]:
        """Return the nodes of the header."""
        file = ROOT / self.arguments[0]
        self.state.document.settings.env.note_dependency(str(file))
        lines = part(header(file.read_text()), self.options.get("from"), self.options.get("to"))
        if not any(lines):
            raise self.error(f"{self.arguments[0]} has no such header")
        container = nodes.section()
        container.document = self.state.document
        nested_parse_with_titles(self.state, StringList(restructured(lines), self.arguments[0]), container)
        return container.children


def header(text: str) -> list[str]:
    """Return the lines of a module's header, without the slashes."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("//!"):
            break
        lines.append(line.removeprefix("//!").removeprefix(" "))
    return lines


def part(lines: list[str], begin: str | None, end: str | None) -> list[str]:
    """Return the lines from one heading to another."""
    first = lines.index(f"# {begin}") if begin else 0
    last = lines.index(f"# {end}") if end else len(lines)
    return lines[first:last]


def restructured(lines: list[str]) -> list[str]:
    """Return Markdown as reStructuredText."""
    result: list[str] = []
    fenced, table = False, False
    for line in lines:
        if line.startswith("```"):
            fenced = not fenced
            result += ["", ".. code-block:: text", ""] if fenced else [""]
        elif fenced:
            result.append(f"   {line}")
        elif line.startswith("| "):
            cells = [inline(cell.strip()) for cell in line.strip().strip("|").split(" | ")]
            if not table:
                result += ["", ".. list-table::", "   :header-rows: 1", "   :class: steps", ""]
            if set(cells[0]) != {"-"}:
                result += [f"   {'  ' if index else '* '}- {cell}" for index, cell in enumerate(cells)]
            table = True
        elif line.startswith("# "):
            title = line.removeprefix("# ")
            result += ["", title, "~" * len(title), ""]
        else:
            if table:
                result.append("")
            result.append(inline(line))
        table = line.startswith("| ")
    return result


def inline(text: str) -> str:
    """Return a line with its code and its links in the manner of reStructuredText."""
    text = _CODE.sub(r"``\1``", _LINK.sub(r"\1", text))
    return _PATH.sub(r"``\1``", text)


def setup(app: object) -> dict[str, bool]:
    """Tell Sphinx of the directive."""
    directives.register_directive("rust-header", RustHeader)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
