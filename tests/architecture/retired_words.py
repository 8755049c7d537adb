"""The retired words of docs/glossary.md with their replacements, and how they are found in a file.

Identifiers are split into their parts: `_judge_shadow` and `JudgeShadow` both have the part `judge`. Prose is
docstrings, comments, string literals of two words or more, names of tests, and pages; what stands in backticks
or in a code block is a name and is left out.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

PARTS = {
    "acted": "acting_policy",
    "afresh": "force",
    "asked": "policy_action",
    "border": "boundary",
    "borders": "boundaries",
    "conductor": "flow",
    "corridor": "data flow",
    "door": "entry_point",
    "film": "video",
    "films": "videos",
    "grow": "append_segments, extend",
    "grown": "extended, increase",
    "hear": "receive, on_step",
    "heard": "received",
    "house": "project",
    "judgement": "verdict, result",
    "keep_books": "log_and_checkpoint",
    "mend": "repair",
    "nobody": "none, no process",
    "orchestra": "pipeline",
    "picture": "image, frame, render_size",
    "pictures": "images, frames",
    "rehearse": "warm_up",
    "rewards_again": "compute_rewards",
    "somebody": "the role: operator, engineer, client",
    "staircase": "layers",
    "tidy": "clean_up",
    "told": "reported, received",
    "twin": "clone_session, copy",
    "twins": "clones, copies",
    "universe": "suite",
    "universes": "suites",
    "voice": "output, messages",
    "vouch": "sign",
    "way": "candidate, rollout",
    "whoever": "the role: operator, engineer, client",
}
"""Parts of identifiers, alone or in a row, in the product, its tests and its benchmarks."""

WHOLE = {
    "few": "min_*, num_*",
    "given": "what it is: policy_action, value, params",
    "most": "max_*",
    "named": "resolved, or what it is",
    "said": "output, message",
    "say": "write_line, report",
    "served": "active, stored",
}
"""Whole identifiers, in the product alone: as a part of a longer name each of them is plain English."""

CLASSES = {
    "Following": "FollowerStatus",
    "InService": "PolicyHost",
    "Named": "ResolvedBundle",
    "Served": "ActiveModel, StoredBundle",
    "Standing": "RegistryStatus",
    "Way": "RolloutCandidate",
}
"""Names of classes."""

LIMITS = re.compile(r"(most|few)_")
"""Beginnings of names of limits; `max_`, `min_` or `num_` in their place."""

PHRASES = {
    r"whoever": "the role: operator, engineer, robot, caller, client",
    r"(some|any|every)body( else)?": "the role, or a passive: 'until an operator clears the stop'",
    r"nobody( else)?": "no one by role: 'no other thread', 'no client'",
    r"corridors?": "data flow",
    r"staircases?": "layers",
    r"orchestras?": "pipeline",
    r"conductors?": "flow",
    r"houses?": "project",
    r"doors?": "entry point",
    r"for ever": "permanently",
    r"universes?": "task suite",
    r"says? no": "refuses",
    r"on (its|their|the) way": "in rollout; in transit",
    r"way back": "rollback",
    r"vouch(es|ed|ing)?": "sign",
    r"stands?(?! (still|for|up)\b)": "is",
    r"(lies|lay) (here|there|beside|under|below|behind|on disk)": "is",
    r"where \w+( \w+)? lies?": "where ... is",
    r"afresh": "from the start; force",
    r"(?<!waits\s)(?<!counts\s)for nothing": "as a warm-up; in vain",
    r"com(es?|ing) into service": "becomes active",
    r"gates? judg(e|es|ed)|judg(ing|ements?|ments?)": "check, compare, evaluate; run the load gate",
    r"rehears(e|es|ed|ing|als?)": "warm up",
    r"film(s|ed|ing)?": "video; record a video",
    r"play(s|ed|ing)?( \w+){1,4} episodes?": "run an episode",
    r"borders?": "boundary, or the file's name",
    r"hears?|heard|deaf": "receive; stopped accepting",
    r"told(?! apart)": "reported; received",
    r"voices?": "output, message",
    r"tid(y|ies|ied|ying)": "clean up",
    r"mend(s|ed|ing)?": "repair, fix",
    r"keeps? (the )?books": "log and checkpoint",
}
"""Phrases of prose; a blank matches any white space, so that a phrase is found across a line's end."""

_PATTERNS = {
    phrase: re.compile(rf"\b(?:{phrase.replace(' ', chr(92) + 's+')})\b", re.IGNORECASE) for phrase in PHRASES
}
_ANY = re.compile("|".join(pattern.pattern for pattern in _PATTERNS.values()))
"""Finds in a text of lower case whether there is a phrase: nearly all texts have none."""
_CODE = re.compile(r"```.*?```|`[^`]*`|\]\([^)]*\)|<!--.*?-->|<style>.*?</style>", re.DOTALL)
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


class Fault(NamedTuple):
    """A retired word that was found."""

    path: str
    line: int
    found: str
    use: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: '{self.found}', use: {self.use}"


def find_in_identifiers(path: str, source: str) -> Iterator[Fault]:
    """Find retired identifiers in a Python file.

    Args:
        path: From the repository's folder, with `/`.
        source: Text of the file.
    """
    names = [(Path(path).stem, 1), *_definitions(source)]
    is_product = path.startswith(("sacpipe/", "pipelines/"))
    for name, line in names:
        if name.startswith("test_"):
            continue  # the name of a test is a sentence: prose
        if name in CLASSES:
            yield Fault(path, line, name, CLASSES[name])
        parts = "_".join(part.lower() for part in _WORD.findall(name))
        for retired, use in PARTS.items():
            if f"_{retired}_" in f"_{parts}_":
                yield Fault(path, line, name, use)
        if is_product and (parts in WHOLE or LIMITS.match(parts)):
            yield Fault(path, line, name, WHOLE.get(parts, "max_*, min_*, num_*"))


@lru_cache(maxsize=1)
def _nodes(source: str) -> list[ast.AST]:
    """Return a file's syntax tree; both tests of one file need it, one after the other."""
    return list(ast.walk(ast.parse(source)))


def _definitions(source: str) -> Iterator[tuple[str, int]]:
    """Walk the names that a file defines: functions, classes, arguments, variables, attributes, aliases."""
    for node in _nodes(source):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.name, node.lineno
            case ast.arg():
                yield node.arg, node.lineno
            case ast.Name(ctx=ast.Store()):
                yield node.id, node.lineno
            case ast.Attribute(ctx=ast.Store()):
                yield node.attr, node.lineno
            case ast.alias(asname=str(name)):
                yield name, node.lineno


def find_in_prose(path: str, source: str) -> Iterator[Fault]:
    """Find retired phrases in a file of any kind.

    Args:
        path: From the repository's folder, with `/`; its ending says what of the file is prose.
        source: Text of the file.
    """
    if path == "docs/glossary.md":
        source = source.partition("## Retired words")[0]
    for first_line, text in _prose(path, source):
        readable = _CODE.sub(lambda code: "\n" * code.group().count("\n"), text)
        if not _ANY.search(readable.lower()):
            continue
        for phrase, pattern in _PATTERNS.items():
            for match in pattern.finditer(readable):
                line = first_line + readable.count("\n", 0, match.start())
                yield Fault(path, line, " ".join(match.group().split()), PHRASES[phrase])


def _prose(path: str, source: str) -> Iterator[tuple[int, str]]:
    """Walk the pieces of prose in a file: first line, text."""
    if path.endswith(".py"):
        yield from _python_prose(source)
    elif path.endswith((".md", ".html")):
        yield 1, source
    else:
        for number, line in enumerate(source.splitlines(), start=1):
            yield number, line.partition("#")[2]


def _python_prose(source: str) -> Iterator[tuple[int, str]]:
    for node in _nodes(source):
        match node:
            case ast.Constant(value=str(text)) if re.search(r"\w\s+\w", text):
                yield node.lineno, text
            case ast.FunctionDef(name=name) if name.startswith("test_"):
                yield node.lineno, name.replace("_", " ")
    yield from _comments(source) if _may_have_comments_with_phrases(source) else ()


def _may_have_comments_with_phrases(source: str) -> bool:
    """Look at what is behind the first `#` of each line; reading the tokens of all files takes seconds.

    It is the comment, or text that ends with it, and follows on the comment of the line before.
    """
    behind = [line.partition("#")[2] if "#" in line else "\0" for line in source.split("\n")]
    return any("#" in text.lstrip("#") for text in behind) or bool(_ANY.search("\n".join(behind).lower()))


def _comments(source: str) -> Iterator[tuple[int, str]]:
    """Walk the comments of a Python file; those of lines in a row are one text."""
    comments: list[str] = []
    last_line = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            line = token.start[0]
            if line != last_line + 1 and comments:
                yield last_line - len(comments) + 1, "\n".join(comments)
                comments = []
            comments.append(token.string.lstrip("#"))
            last_line = line
    if comments:
        yield last_line - len(comments) + 1, "\n".join(comments)
