"""No pattern of the detectors can take more than linear time: none repeats what itself repeats."""

import ast
import importlib
import inspect
import re
from collections.abc import Iterator

import pytest

from app.config import ROOT
from app.prompts.hygiene.national_ids import RULES

FOLDER = ROOT / "app/prompts/hygiene"
MODULES = [importlib.import_module(f"app.prompts.hygiene.{path.stem}") for path in sorted(FOLDER.glob("[a-z]*.py"))]
REPEATS = (re._constants.MAX_REPEAT, re._constants.MIN_REPEAT, re._constants.POSSESSIVE_REPEAT)


def patterns(module) -> Iterator[str]:
    """The patterns of a module: compiled ones, and those given to functions of `re` where they are used."""
    yield from (value.pattern for value in vars(module).values() if isinstance(value, re.Pattern))
    for call in ast.walk(ast.parse(inspect.getsource(module))):
        if not isinstance(call, ast.Call) or not ast.unparse(call.func).startswith("re.") or not call.args:
            continue
        if not isinstance(call.args[0], ast.Name) and call.func.attr != "compile":
            yield eval(ast.unparse(call.args[0]), vars(module))


def repeats_within_repeats(parsed, within: bool = False) -> bool:
    for operation, argument in parsed:
        repeats = operation in REPEATS and argument[1] > 1
        if repeats and within:
            return True
        inner = argument[2] if operation in REPEATS else argument
        if any(repeats_within_repeats(part, within or repeats) for part in parts(inner)):
            return True
    return False


def parts(argument) -> Iterator[re._parser.SubPattern]:
    """The patterns within the argument of an operation: of a group, a branch, a look-ahead or a condition."""
    if isinstance(argument, re._parser.SubPattern):
        yield argument
    elif isinstance(argument, tuple | list):
        for one in argument:
            yield from parts(one)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_nothing_that_repeats_is_repeated(module):
    nested = [pattern for pattern in patterns(module) if repeats_within_repeats(re._parser.parse(pattern))]
    assert not nested


def test_nor_in_the_patterns_of_countries():
    assert not [rule for rule in RULES if repeats_within_repeats(re._parser.parse(rule.pattern.pattern))]


def test_the_check_knows_a_repeat_within_a_repeat():
    nested = ["(?:a+)+", "(a{2,3}b){4}", "(?:x(?:a*|b)?){2,}", "(?:a+?)*?", "(?=(?:a+)+)b"]
    flat = ["(?:a+)?b+", "a{2,3}b{4}", "(?:ab?){2,}", "(?:a+|b)c*"]
    assert all(repeats_within_repeats(re._parser.parse(one)) for one in nested)
    assert not any(repeats_within_repeats(re._parser.parse(one)) for one in flat)
