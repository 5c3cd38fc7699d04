"""Order in which slots are handed out: by their round's priority, its number, and their item's position.

All three form one number, so that an index finds the first slot without sorting.
"""

from sqlalchemy import BigInteger, ColumnElement, SQLColumnExpression, case, cast, select

from app.rounds.tables import Round, RoundPriority

ITEMS_A_ROUND = 1_000_000
ROUNDS = 10**10  # above the largest round number, 2**31
_LEVEL = ROUNDS * ITEMS_A_ROUND
_LEVELS = {RoundPriority.HIGH: -1, RoundPriority.NORMAL: 0, RoundPriority.LOW: 1}


def position(priority: RoundPriority, number: int, item_position: int) -> int:
    """Return the position of an item's slots, from the priority and number of their round; the smallest comes first."""
    return _LEVELS[priority] * _LEVEL + number * ITEMS_A_ROUND + item_position


def level(position: ColumnElement[int]) -> ColumnElement[int]:
    """Return the priority within a position, as a number; the smallest comes first."""
    return (position + 3 * _LEVEL // 2) // _LEVEL  # added, because databases round negative numbers towards zero


def of_round(position: SQLColumnExpression[int], number: ColumnElement[int]) -> ColumnElement[bool]:
    """Match positions in the round with this number: a range, so that an index skips all other rounds."""
    levels = {priority: level * _LEVEL for priority, level in _LEVELS.items()}
    first = select(case(levels, value=Round.priority) + cast(Round.number, BigInteger) * ITEMS_A_ROUND).where(
        Round.number == number
    )
    return position.between(first.scalar_subquery(), first.scalar_subquery() + ITEMS_A_ROUND - 1)


def distance(before: RoundPriority, after: RoundPriority) -> int:
    """Return how much a round's positions grow when its priority changes."""
    return (_LEVELS[after] - _LEVELS[before]) * _LEVEL
