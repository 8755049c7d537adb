"""The commands of docs/from-softlearning.md: those of its tables' last column, and its blocks."""

import re

from repository import ROOT

PAGE = (ROOT / "docs" / "from-softlearning.md").read_text()
PROGRAMS = ("sacpipe", "dvc", "python", "make")


def rows(text=PAGE):
    """Return the cells of every row of the tables but their heads."""
    found = [line.split("|")[1:-1] for line in re.findall(r"^\| .+\|$", text, re.MULTILINE)]
    return [[cell.strip() for cell in row] for row in found if row[-1].strip() != "command"]


def spans(text):
    """Return the texts in backticks."""
    return re.findall(r"`([^`]+)`", text)


def is_command(span):
    """Tell a command from a name: a program of ours with a word behind, perhaps after a variable."""
    return bool(re.match(rf"([A-Z_]+=\S+ )?({'|'.join(PROGRAMS)}) \S", span))


def sections():
    """Return the scripts of each section that has some, by its title: a block, or a command of a table."""
    found = {}
    for part in re.split(r"^(?=##)", PAGE, flags=re.MULTILINE)[1:]:
        title = part.partition("\n")[0].strip("# ")
        blocks = re.findall(r"^```\n(.*?)^```", part, re.MULTILINE | re.DOTALL)
        scripts = [span for row in rows(part) for span in spans(row[-1])] + blocks
        if scripts:
            found[title] = list(dict.fromkeys(scripts))
    return found


def commands(script):
    """Return the calls of `sacpipe` in a script, as they are printed."""
    return re.findall(r"^(?:[A-Z_]+=\S+ )? *(sacpipe .+)$", script.replace("\\\n", ""), re.MULTILINE)
