"""Time worked is the draft's alone; priority and reserved share of rounds; what labelers wrote or took, by hash.

Revision ID: 0005
Revises: 0004
"""

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterator
from itertools import groupby, islice

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision, down_revision, branch_labels, depends_on = "0005", "0004", None, None

BATCH = 1000
JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
TIMED = ("demonstrations", "conversations", "comparisons")  # their time is read from their drafts
ITEMS_A_ROUND = 1_000_000
LINE_ENDS = re.compile("\r\n|[\r\v\f\x1c-\x1e\x85\u2028\u2029]")
CONTROLS = re.compile("[\x00-\x08\x0e-\x1f\x7f]")
IDLE_JOINERS = re.compile("(?<![^\x00-\x7f])[\u200c\u200d]|[\u200c\u200d](?![^\x00-\x7f])")
TAGS = re.compile("(\U0001f3f4[\U000e0020-\U000e007e]+\U000e007f)|[\U000e0001-\U000e007f]")
DRAWN = frozenset("\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd")
FILLERS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0")
PRIORITY = sa.Enum("high", "normal", "low", name="round_priority", native_enum=False, create_constraint=True, length=32)


def upgrade() -> None:
    with op.batch_alter_table("rounds") as table:
        table.add_column(sa.Column("priority", PRIORITY, nullable=False, server_default="normal"))
        table.add_column(sa.Column("reserved_percent", sa.Integer(), nullable=False, server_default="0"))
        table.create_check_constraint(op.f("ck_rounds_reserved_percent"), "reserved_percent BETWEEN 0 AND 100")
    with op.batch_alter_table("drafts") as table:
        table.add_column(sa.Column("given_at", sa.DateTime(timezone=True), nullable=True))
    op.execute(
        "UPDATE drafts SET given_at = coalesce((SELECT min(claimed_at) FROM assignments WHERE "
        "assignments.item_id = drafts.item_id AND assignments.labeler_id = drafts.labeler_id), updated_at)"
    )
    with op.batch_alter_table("drafts") as table:
        table.alter_column("given_at", existing_type=sa.DateTime(timezone=True), nullable=False)
    for name in TIMED:
        op.execute(  # the longer of the two, so that no time is lost
            "UPDATE drafts SET active_seconds = (SELECT max(active_seconds) FROM "
            f"{name} WHERE {name}.item_id = drafts.item_id AND {name}.labeler_id = drafts.labeler_id) "
            f"WHERE EXISTS (SELECT 1 FROM {name} WHERE {name}.item_id = drafts.item_id "
            f"AND {name}.labeler_id = drafts.labeler_id AND {name}.active_seconds > drafts.active_seconds)"
        )
        with op.batch_alter_table(name) as table:
            table.drop_column("active_seconds")
    op.create_table(
        "own_texts",
        sa.Column("prompt_sha256", sa.String(length=64), nullable=False),
        sa.Column("text_sha256", sa.String(length=64), nullable=False),
        sa.Column("labeler_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["labeler_id"], ["accounts.id"], name=op.f("fk_own_texts_labeler_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("prompt_sha256", "text_sha256", "labeler_id", name=op.f("pk_own_texts")),
    )
    op.create_table(
        "own_items",
        sa.Column("item_id", sa.Integer(), nullable=False),
        sa.Column("labeler_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["item_id"], ["items.id"], name=op.f("fk_own_items_item_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["labeler_id"], ["accounts.id"], name=op.f("fk_own_items_labeler_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("item_id", "labeler_id", name=op.f("pk_own_items")),
    )
    op.execute(
        "INSERT INTO own_texts (labeler_id, prompt_sha256, text_sha256) "
        "SELECT DISTINCT demonstrations.labeler_id, prompts.text_sha256, completions.text_sha256 FROM demonstrations "
        "JOIN completions ON completions.id = demonstrations.completion_id "
        "JOIN prompts ON prompts.id = completions.prompt_id"
    )
    own = sa.table("own_texts", *map(sa.column, ("labeler_id", "prompt_sha256", "text_sha256")))
    said = _said_in_conversations()
    while batch := list(islice(said, BATCH)):
        values = [dict(zip(own.c.keys(), row, strict=True)) for row in dict.fromkeys(batch)]
        kind = postgresql if op.get_bind().dialect.name == "postgresql" else sa.dialects.sqlite
        op.get_bind().execute(kind.insert(own).on_conflict_do_nothing(), values)
    op.execute(
        "INSERT INTO own_items (item_id, labeler_id) SELECT DISTINCT items.id, own_texts.labeler_id FROM items "
        "JOIN prompts ON prompts.id = items.prompt_id JOIN item_completions ON item_completions.item_id = items.id "
        "JOIN completions ON completions.id = item_completions.completion_id JOIN own_texts "
        "ON own_texts.prompt_sha256 = prompts.text_sha256 AND own_texts.text_sha256 = completions.text_sha256"
    )


def _said_in_conversations() -> Iterator[tuple[int, str, str]]:
    """Labeler, hash of all messages before, and hash of the text, of every message of the assistant."""
    messages, conversations, items, prompts = (
        sa.table("conversation_messages", *map(sa.column, ("conversation_id", "position", "role", "text"))),
        sa.table("conversations", *map(sa.column, ("id", "labeler_id", "item_id"))),
        sa.table("items", *map(sa.column, ("id", "prompt_id"))),
        sa.table("prompts", sa.column("id"), sa.column("source"), sa.column("messages", JSON)),
    )
    rows = op.get_bind().execute(
        sa.select(
            messages.c.conversation_id,
            conversations.c.labeler_id,
            prompts.c.source,
            prompts.c.messages,
            messages.c.role,
            messages.c.text,
        )
        .join_from(messages, conversations, conversations.c.id == messages.c.conversation_id)
        .join(items, items.c.id == conversations.c.item_id)
        .join(prompts, prompts.c.id == items.c.prompt_id)
        .order_by(messages.c.conversation_id, messages.c.position)
    )
    for _id, group in groupby(rows.all(), key=lambda row: row.conversation_id):
        before: list[list[str]] = []
        for place, row in enumerate(group):
            if place == 0 and row.source != "use_case":
                before = [[one["role"], _normal_form(one["text"]).strip()] for one in row.messages]
            if row.role == "assistant":
                turns = json.dumps(before, ensure_ascii=False, separators=(",", ":"))
                yield row.labeler_id, _sha256(turns), _sha256(_normal_form(row.text))
            before = [*before, [row.role, _normal_form(row.text).strip()]]


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _normal_form(text: str) -> str:
    """The form in which texts are compared, as it was when this revision was written."""
    text = CONTROLS.sub("", LINE_ENDS.sub("\n", text))
    if not text.isascii():
        text = TAGS.sub(r"\1", unicodedata.normalize("NFC", text))
        text = IDLE_JOINERS.sub("", "".join(map(_as_seen, text)))
    text = "\n".join(line.rstrip(" \t") for line in text.split("\n")).strip("\n")
    return text[1:] if text[:1] == " " and text[1:2] not in (" ", "\t") else text


def _as_seen(letter: str) -> str:
    category = unicodedata.category(letter)
    if letter in "\n\t\u200c\u200d" or letter in DRAWN or "\U000e0020" <= letter <= "\U000e007f":
        return letter
    if category == "Zs":
        return " "
    selector = "\ufe00" <= letter <= "\ufe0f" or "\U000e0100" <= letter <= "\U000e01ef"
    return "" if selector or category in ("Cc", "Cf", "Zl", "Zp") or letter in FILLERS else letter


def downgrade() -> None:
    op.drop_table("own_items")
    op.drop_table("own_texts")
    for name in TIMED:
        with op.batch_alter_table(name) as table:
            table.add_column(sa.Column("active_seconds", sa.Double(), nullable=False, server_default="0"))
        op.execute(
            f"UPDATE {name} SET active_seconds = coalesce((SELECT active_seconds FROM drafts WHERE "
            f"drafts.item_id = {name}.item_id AND drafts.labeler_id = {name}.labeler_id), 0)"
        )
        with op.batch_alter_table(name) as table:
            table.alter_column("active_seconds", existing_type=sa.Double(), server_default=None)
    with op.batch_alter_table("drafts") as table:
        table.drop_column("given_at")
    op.execute(
        f"UPDATE assignments SET position = (SELECT rounds.number * {ITEMS_A_ROUND} + items.position FROM items "
        "JOIN rounds ON rounds.id = items.round_id WHERE items.id = assignments.item_id)"
    )
    with op.batch_alter_table("rounds") as table:
        table.drop_constraint(op.f("ck_rounds_reserved_percent"), type_="check")
        table.drop_constraint(op.f("ck_rounds_round_priority"), type_="check")
        table.drop_column("reserved_percent")
        table.drop_column("priority")
