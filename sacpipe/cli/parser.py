"""The argument parser of the commands: it names the nearest choice, and prints completions for shells."""

import argparse
import difflib
from collections.abc import Sequence
from typing import Any

from sacpipe.cli.output import write_output

SHELLS = ("bash", "zsh", "fish")


class Parser(argparse.ArgumentParser):
    """argparse's parser, whose errors of choice name the nearest one."""

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        # No public place before Python 3.14, whose `suggest_on_error` replaces this method.
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as exc:
            near = difflib.get_close_matches(str(value), map(str, action.choices or ()), n=1)
            exc.message += f". Did you mean {near[0]}?" if near else ""
            raise


class PrintCompletion(argparse.Action):
    """Print the completion script for a shell, by the library shtab, and exit."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        _namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Print and exit."""
        try:
            import shtab
        except ModuleNotFoundError:
            parser.error(f"{option_string} needs the package 'shtab'. `pip install shtab` installs it.")
        write_output(shtab.complete(parser, str(values)))
        parser.exit()
