"""The reference of a face: `.. face:: synkern.analysis` documents the names that this module shows.

A name that several faces show is documented once, at the first of `FACES`, and the others link to
it. What a docstring has between single backticks becomes a link where it names something public,
and code where it does not. An annotation is resolved by the class that it names, wherever the class
is defined; annotations of other libraries stay plain, as no list of theirs is fetched.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode

FACES = (
    "synkern",
    "synkern.decomposition",
    "synkern.analysis",
    "synkern.recording",
    "synkern.models",
    "synkern.interventions",
    "synkern.training",
    "synkern.tasks",
    "synkern.study",
    "synkern.data",
    "synkern.scale",
    "synkern.kernels",
)

ELSEWHERE = (
    *("argparse", "collections", "contextlib", "os", "pathlib"),
    *("jinja2", "nn", "np", "npt", "numpy", "torch", "transformers", "xarray"),
)
"""Other libraries, as annotations begin with their names."""

ROLES = {"any": "obj", "exception": "exc", "function": "func", "module": "mod"}
"""By kind of thing, the role that links to it, where that is called otherwise."""

SEVERAL = re.compile(r"^ +\w+(?:, \w+)+(?=: )")
"""The head of an entry for several arguments or attributes."""

PYTHON = re.compile(r"^ +(?:\w+(?:\.\w+)*(?:, \w+)* = |with |for |if |from |import )(?!.*[²→])")
"""A first line of code, and none of a formula."""

BARS = re.compile(r"(?<=\s)\|(?=\S)([^|`]*)(?<=\S)\|")

INSIDE = re.compile(r"(?<![`:\w])`([^`\n]+)`(?![`_])")


class Shown(NamedTuple):
    """A public name: where it is documented, as what, and where it is defined."""

    name: str
    role: str
    home: str


def _imports(face: str) -> dict[str, str]:
    """By public name of a face, the module that type checkers are told it comes from."""
    tree = ast.parse(Path(inspect.getfile(importlib.import_module(face))).read_text("utf-8"))
    return {
        alias.name: (node.module or "").replace("kernels.", "synkern.kernels.", 1)
        if (node.module or "").startswith("kernels.")
        else node.module or ""
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def _defined(face: str, name: str) -> str:
    """The module in which a name of a face is defined."""
    home = _imports(face).get(name, face)
    return home if home == face or home not in FACES else _defined(home, name)


def _role(value: Any) -> str:
    if inspect.isclass(value):
        return "exception" if issubclass(value, BaseException) else "class"
    if inspect.ismodule(value):
        return "module"
    return "function" if inspect.isroutine(value) else "data"


@cache
def shown() -> dict[str, Shown]:
    """By full name in any face, what is documented for it."""
    first: dict[tuple[str, str], Shown] = {}
    found = {}
    for face in FACES:
        module = importlib.import_module(face)
        for name in module.__all__:
            home = _defined(face, name)
            role = _role(getattr(module, name))
            found[f"{face}.{name}"] = first.setdefault(
                (home, name), Shown(f"{face}.{name}", role, home)
            )
    return found


@cache
def _by_last() -> dict[str, Shown]:
    """By last part of the name, what is documented; what two things are called is not there."""
    found: dict[str, set[Shown]] = {}
    for each in shown().values():
        found.setdefault(each.name.rpartition(".")[2], set()).add(each)
    return {name: one.pop() for name, one in found.items() if len(one) == 1}


def target(text: str, face: str = "synkern") -> tuple[str, str] | None:
    """Role and full name of what a docstring names, or None if it names nothing public."""
    if not re.fullmatch(r"[A-Za-z_][\w.]*(\(\))?", text):
        return None
    text = text.removesuffix("()")
    known = shown()
    for name in (text, f"{face}.{text}", f"synkern.{text}"):
        if name in known:
            return known[name].role, known[name].name
    owner, _, member = text.rpartition(".")
    for name in (owner, f"{face}.{owner}", f"synkern.{owner}"):
        if owner and name in known and known[name].role in ("class", "exception"):
            of = getattr(importlib.import_module(known[name].home), owner.rpartition(".")[2])
            if callable(getattr(of, member, None)) or isinstance(
                getattr(of, member, None), property
            ):
                return "any", f"{known[name].name}.{member}"
    last = _by_last().get(text)
    return (last.role, last.name) if last else None


def linked(line: str, face: str = "synkern") -> str:
    """A line of a docstring with reStructuredText's links and code in place of backticks."""

    def replaced(match: re.Match[str]) -> str:
        text = match[1]
        found = target(text, face)
        if found is None or found[0] == "module":
            return f"``{text}``"
        return f":py:{ROLES.get(found[0], found[0])}:`{text} <{found[1]}>`"

    # Bars are those of absolute values; reStructuredText has another use for them.
    return BARS.sub(r"\\|\1\\|", INSIDE.sub(replaced, line))


def _on_docstring(
    app: Sphinx, what: str, name: str, of: Any, options: Any, lines: list[str]
) -> None:
    face = ".".join(name.split(".")[:2]) if name.count(".") > 1 else "synkern"
    lines[:] = marked_up(lines, face)
    if what in ("attribute", "property"):
        # A comment: of the first line, napoleon takes what is before a colon for a type.
        lines[:0] = [".. in words", ""]


def marked_up(lines: list[str], face: str = "synkern") -> list[str]:
    """A docstring in reStructuredText, but for its sections: links, code, entries of two names."""
    made: list[str] = []
    code = False
    for line in lines:
        indented = line.startswith("    ")
        # Indented below a paragraph is code; below the head of a section, there is no empty line.
        if indented and not code and len(made) > 1 and not made[-1] and made[-2][:1].strip():
            made += [f".. code-block:: {'python' if PYTHON.search(line) else 'text'}", ""]
            code = True
        code &= indented or not line
        # Of an entry for several names, napoleon takes all but the last for a type.
        entry = SEVERAL.sub(lambda found: found[0].replace(", ", ","), line)
        made.append(line if code else linked(entry, face))
    return made


class Face(SphinxDirective):
    """Documents a face: a table of all its names, then those that are at home here."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Parse what autodoc is to be told."""
        face = self.arguments[0]
        module = importlib.import_module(face)
        lines = marked_up((inspect.getdoc(module) or "").splitlines(), face)
        lines += ["", ".. list-table::", "   :widths: 30 70", ""]
        here = []
        for name in sorted(module.__all__, key=str.lower):
            each = shown()[f"{face}.{name}"]
            role = ROLES.get(each.role, each.role)
            lines += [f"   * - :py:{role}:`{name} <{each.name}>`"]
            lines += [f"     - {_first_line(getattr(module, name), each)}"]
            if each.name == f"{face}.{name}":
                here.append(each)
        lines += [""]
        for each in here:
            lines += [".. py:currentmodule:: None", "", *_documented(each), ""]
        parent = nodes.section()
        parent.document = self.state.document
        self.state.nested_parse(StringList(lines, f"{face}, shown"), 0, parent)
        return parent.children


def _documented(each: Shown) -> list[str]:
    if each.role == "data":
        value = _attribute_doc(each)
        return [f".. py:data:: {each.name}", "", *(f"   {linked(line)}" for line in value)]
    options = ["   :members:"] if each.role in ("class", "exception") else []
    return [f".. auto{each.role}:: {each.name}", *options]


def _attribute_doc(each: Shown) -> list[str]:
    documented = ModuleAnalyzer.for_module(each.home).find_attr_docs()
    return documented.get(("", each.name.rpartition(".")[2]), [])


def _first_line(value: Any, each: Shown) -> str:
    said = " ".join(_attribute_doc(each)) if each.role == "data" else inspect.getdoc(value) or ""
    said = " ".join(said.partition("\n\n")[0].split())
    return linked(re.split(r"(?<=[.:])\s", said)[0].rstrip(":")) or "\\"


def _on_missing(app: Sphinx, env: Any, node: Any, contnode: Any) -> Any:
    """Find what an annotation names by the class itself; leave plain what is not public."""
    if node.get("refdomain") != "py":
        return None
    wanted = node["reftarget"]
    if wanted.split(".")[0] in ELSEWHERE or wanted in PLAIN:
        return contnode
    last = wanted.rpartition(".")[2]
    each = shown().get(wanted) or _by_last().get(last)
    if each is None or wanted not in (last, each.name, f"{each.home}.{last}"):
        return contnode if _is_inner(wanted) else None
    domain = env.domains["py"]
    if each.name not in domain.objects:
        return None
    page = domain.objects[each.name].docname
    return make_refnode(app.builder, node["refdoc"], page, each.name, contnode, each.name)


def _is_inner(wanted: str) -> bool:
    """Whether a full name is that of something in synkern that no face shows."""
    module, _, name = wanted.rpartition(".")
    if not module.startswith("synkern."):
        return False
    try:
        return hasattr(importlib.import_module(module), name)
    except ModuleNotFoundError:
        return False


PLAIN = {
    *("AbstractContextManager", "ArrayLike", "Checkpoint", "Chosen", "Figure", "Kinds", "Name"),
    *("MissingExtraError", "NDArray", "NoGraphError", "NotFittedError", "Other", "Path"),
    *("Point", "SpreadOf"),
}
"""Names in annotations, and of errors, that no face shows, where they stand without a module."""


def setup(app: Sphinx) -> dict[str, Any]:
    """Register what this module has."""
    app.add_directive("face", Face)
    # Before napoleon, which reads sections.
    app.connect("autodoc-process-docstring", _on_docstring, priority=400)
    app.connect("missing-reference", _on_missing)
    return {"version": "1", "parallel_read_safe": True}
