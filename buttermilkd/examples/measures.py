"""What can be measured of one Python source text. Pure functions; any interpreter from Python 3.9 on."""

from __future__ import annotations

import ast
import io
import tokenize
import warnings
from collections.abc import Iterator
from statistics import fmean
from typing import Union

from buttermilkd.examples.reading import reading_ease, words

Function = Union[ast.FunctionDef, ast.AsyncFunctionDef]
Definition = Union[Function, ast.ClassDef]

DECISIONS = frozenset(
    ("If", "For", "AsyncFor", "While", "ExceptHandler", "IfExp", "comprehension", "match_case")
)
"""Nodes at which control may go two ways; by name, because not every Python has all of them."""
_LAYOUT = frozenset(
    (tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING, tokenize.ENDMARKER)
)


def measure(source: str) -> dict[str, object]:
    """Size, complexity and documentation of a module's source text; JSON values, shares from 0 to 1.

    Raises:
        SyntaxError, ValueError, RecursionError: it cannot be parsed.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an invalid escape in the text is not this program's business
        tree = ast.parse(source)
    found = list(definitions(tree))
    complexities = {name: complexity(node) for name, node in found if not isinstance(node, ast.ClassDef)}
    code, comments = code_and_comment_lines(source, tree)
    prose = "\n\n".join(
        filter(None, (ast.get_docstring(node) for node in (tree, *(node for _, node in found))))
    )
    ease = reading_ease(prose)
    return {
        "lines": len(source.splitlines()),
        "code_lines": len(code),
        "comment_ratio": round(len(comments) / len(code | comments), 3) if code | comments else 0.0,
        "functions": len(complexities),
        "classes": len(found) - len(complexities),
        "mean_complexity": round(fmean(complexities.values()), 2) if complexities else 0.0,
        "max_complexity": max(complexities.values(), default=0),
        "most_complex": max(complexities, key=complexities.__getitem__, default=None),
        "docstring_share": round(docstring_share(tree, found), 3),
        "docstring_words": len(words(prose)),
        "reading_ease": None if ease is None else round(ease, 1),
    }


def definitions(parent: ast.AST, prefix: str = "") -> Iterator[tuple[str, Definition]]:
    """Every function and class below ``parent``, each with its qualified name as Python writes it."""
    for node in ast.iter_child_nodes(parent):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            name = prefix + node.name
            yield name, node
            yield from definitions(
                node, f"{name}." if isinstance(node, ast.ClassDef) else f"{name}.<locals>."
            )
        elif not isinstance(node, ast.expr):
            yield from definitions(node, prefix)


def complexity(function: Function) -> int:
    """Cyclomatic complexity: one more than the decisions in its own body, those of nested definitions apart.

    A decision is a branch, a loop, a handler, a ``case``, a conditional expression, a comprehension's loop
    and each of its conditions, and each ``and`` and ``or``. After T. J. McCabe, "A complexity measure", IEEE
    Transactions on Software Engineering SE-2(4), 1976, pp. 308-320, who counts conditions as we do.
    """
    decisions = 0
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            continue
        decisions += type(node).__name__ in DECISIONS
        if isinstance(node, ast.BoolOp):
            decisions += len(node.values) - 1
        elif isinstance(node, ast.comprehension):
            decisions += len(node.ifs)
        waiting.extend(ast.iter_child_nodes(node))
    return decisions + 1


def docstring_share(tree: ast.Module, found: list[tuple[str, Definition]]) -> float:
    """How much of what is public (the module; classes and functions without ``_`` or a local scope) is documented."""
    public: list[ast.Module | Definition] = [tree]
    public += [node for name, node in found if not any(part[0] in "_<" for part in name.split("."))]
    return sum(ast.get_docstring(node) is not None for node in public) / len(public)


def code_and_comment_lines(source: str, tree: ast.Module) -> tuple[set[int], set[int]]:
    """The numbers of the lines that hold code, docstrings not counted, and of those that hold a comment."""
    code: set[int] = set()
    comments: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            comments.add(token.start[0])
        elif token.type not in _LAYOUT:
            code.update(range(token.start[0], token.end[0] + 1))
    return code - _docstring_lines(tree), comments


def _docstring_lines(tree: ast.Module) -> set[int]:
    lines: set[int] = set()
    for node in (tree, *(node for _, node in definitions(tree))):
        if ast.get_docstring(node, clean=False) is not None:
            first = node.body[0]
            lines.update(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    return lines
