"""What a row of the bench is, and where all of them come from.

A file rows_WHAT.py beside this one has a list ROWS; files count in the order
of their ORDER. A row's measure(world) returns a Result: ours and the floor of
the same run, in the row's unit.
"""
import dataclasses
import glob
import importlib
import os
import typing


@dataclasses.dataclass(frozen=True)
class Result:
    ours: float
    floor: typing.Optional[float] = None
    note: str = ''


@dataclasses.dataclass(frozen=True)
class Goal:
    """text: for people. test(ours, floor): is it met?"""
    text: str
    test: typing.Callable

    def is_met(self, result):
        return bool(self.test(result.ours, result.floor))


@dataclasses.dataclass(frozen=True)
class Row:
    name: str
    unit: str  # "ms", "s", "MB/s" ...
    goal: Goal
    measure: typing.Callable


def above_floor(most, unit):
    """Ours may be so much more than the floor."""
    return Goal(f'floor + {most:g} {unit}', lambda ours, floor: ours <= floor + most)


def of_floor(least):
    """Ours must be so large a part of the floor."""
    return Goal(f'>= {least:g} of floor', lambda ours, floor: ours >= floor * least)


def at_most(most, unit):
    return Goal(f'<= {most:g} {unit}', lambda ours, floor: ours <= most)


def all_rows():
    here = os.path.dirname(os.path.realpath(__file__))
    names = [os.path.basename(path)[:-3] for path in glob.glob(os.path.join(here, 'rows_*.py'))]
    modules = sorted((importlib.import_module(name) for name in names), key=lambda m: m.ORDER)
    return [row for module in modules for row in module.ROWS]
