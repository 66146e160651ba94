"""Every message of a part of the source: `{messages} synkern/tasks` lists what is raised there.

Read from the source, not run: of each `raise` and each warning, the text, with `…` where a value is
put in. `tests/test_errors_explained.py` holds the pages that explain messages to the same reading.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

ROOT = Path(__file__).parents[2]
GAP = "…"
SILENT = ("AttributeError", "AssertionError", "NotImplementedError", "StopIteration")
"""What is raised for Python itself, or for whoever writes synkern."""


class Message(NamedTuple):
    """A text that a user may see."""

    path: str
    kind: str
    text: str


def template(node: ast.expr) -> str:
    """The text of an expression, with `GAP` for what is known only when it runs."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(map(template, node.values))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return template(node.left) + template(node.right)
    return GAP


@cache
def messages(path: Path) -> tuple[Message, ...]:
    """What a module raises and warns of, in its order; what is only passed on is left out."""
    where = path.relative_to(ROOT).as_posix()
    found = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            call, kind = node.exc, ast.unparse(node.exc.func).rpartition(".")[2]
        elif isinstance(node, ast.Call) and _called(node) == "warn":
            call, kind = node, "UserWarning"
        else:
            continue
        text = re.sub(rf"{GAP}+", GAP, template(call.args[0])) if call.args else ""
        if kind not in SILENT and kind[0].isupper() and len(re.sub(rf"[{GAP}\W]", "", text)) > 7:
            found.append((call.lineno, Message(where, kind, " ".join(text.split()))))
    return tuple(message for _, message in sorted(found))


def _called(node: ast.Call) -> str:
    return getattr(node.func, "id", getattr(node.func, "attr", ""))


def of_part(part: str) -> list[Message]:
    """All messages of a file or a folder, relative to the repository."""
    place = ROOT / part
    files = [place] if place.is_file() else sorted(place.rglob("*.py"))
    if not files:
        raise FileNotFoundError(f"{part} is no file or folder of the repository")
    return [message for file in files for message in messages(file)]


class Messages(SphinxDirective):
    """Lists the messages of parts of the source, by file."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        """Read the source anew: a page with this is as new as what it is about."""
        by_file: dict[str, list[Message]] = {}
        for part in self.arguments[0].split():
            for message in of_part(part):
                by_file.setdefault(message.path, []).append(message)
        made: list[nodes.Node] = []
        for path, several in by_file.items():
            self.env.note_dependency(str(ROOT / path))
            made.append(nodes.paragraph("", "", nodes.literal("", path), classes=["of-file"]))
            made.append(
                nodes.bullet_list(
                    "",
                    *(
                        nodes.list_item(
                            "",
                            nodes.paragraph(
                                "",
                                "",
                                nodes.emphasis("", each.kind),
                                nodes.Text(": "),
                                nodes.Text(each.text),
                            ),
                        )
                        for each in dict.fromkeys(several)
                    ),
                )
            )
        return made


def setup(app: Sphinx) -> dict[str, Any]:
    """Register what this module has."""
    app.add_directive("messages", Messages)
    return {"version": "1", "parallel_read_safe": True}
