"""Prompts in several collections; texts hashed in the normal form in which they are compared.

Revision ID: 0003
Revises: 0002
"""

import hashlib
import json
from collections.abc import Callable, Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

# What the code looks texts up by, so it is the code's own function.
from app.kit.text import normal_form

revision, down_revision, branch_labels, depends_on = "0003", "0002", None, None

BATCH = 1000
JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    op.create_table(
        "prompt_collections",
        sa.Column("prompt_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.ForeignKeyConstraint(
            ["prompt_id"], ["prompts.id"], name=op.f("fk_prompt_collections_prompt_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("prompt_id", "name", name=op.f("pk_prompt_collections")),
    )
    op.create_index(op.f("ix_prompt_collections_name"), "prompt_collections", ["name"])
    op.execute(
        "INSERT INTO prompt_collections (prompt_id, name) SELECT id, collection FROM prompts WHERE collection <> ''"
    )
    with op.batch_alter_table("prompts") as table:
        table.drop_index(op.f("ix_prompts_collection"))
        table.drop_column("collection")
    prompts = sa.table("prompts", sa.column("id"), sa.column("text_sha256"), sa.column("messages", JSON))
    _hash_again(prompts, prompts.c.messages, _of_messages, ())
    completions = sa.table("completions", *map(sa.column, ("id", "text_sha256", "text", "prompt_id", "policy_id")))
    _hash_again(completions, completions.c.text, _of_text, (completions.c.prompt_id, completions.c.policy_id))


def _of_messages(messages: list[dict]) -> str:
    turns = [[message["role"], normal_form(message["text"]).strip()] for message in messages]
    return _sha256(json.dumps(turns, ensure_ascii=False, separators=(",", ":")))


def _of_text(text: str) -> str:
    return _sha256(normal_form(text))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _hash_again(
    table: sa.TableClause, text: sa.ColumnClause, digest: Callable, unique_with: Sequence[sa.ColumnClause]
) -> None:
    """Give each row the hash by which it is found today; where another row has it by then, the old one stays."""
    connection = op.get_bind()
    query = sa.select(table.c.id, table.c.text_sha256, text, *unique_with).order_by(table.c.id).limit(BATCH)
    last = 0
    while rows := connection.execute(query.where(table.c.id > last)).all():
        for id, old, given, *others in rows:
            new = digest(given)
            same = [column == value for column, value in zip(unique_with, others, strict=True)]
            taken = sa.select(table.c.id).where(table.c.text_sha256 == new, *same)
            if new != old and connection.scalar(taken) is None:
                connection.execute(sa.update(table).where(table.c.id == id).values(text_sha256=new))
        last = rows[-1].id


def downgrade() -> None:
    with op.batch_alter_table("prompts") as table:
        table.add_column(sa.Column("collection", sa.String(length=120), nullable=False, server_default=""))
    op.execute(
        "UPDATE prompts SET collection = coalesce((SELECT min(name) FROM prompt_collections "
        "WHERE prompt_id = prompts.id), '')"
    )
    with op.batch_alter_table("prompts") as table:
        table.alter_column("collection", server_default=None)
        table.create_index(op.f("ix_prompts_collection"), ["collection"])
    op.drop_table("prompt_collections")
