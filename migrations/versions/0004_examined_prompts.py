"""What examining prompts finds: language, likeness, personal data; all texts hashed again in their normal form.

Revision ID: 0004
Revises: 0003
"""

import hashlib
import json
import re
import unicodedata
from collections.abc import Callable, Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision, down_revision, branch_labels, depends_on = "0004", "0003", None, None

BATCH = 1000
JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
KINDS = (
    "secret", "bank_account", "card", "national_id", "email", "ip_address", "mac_address", "phone", "name", "place"
)  # fmt: skip
LINE_ENDS = re.compile("\r\n|[\r\v\f\x1c-\x1e\x85\u2028\u2029]")
CONTROLS = re.compile("[\x00-\x08\x0e-\x1f\x7f]")
IDLE_JOINERS = re.compile("(?<![^\x00-\x7f])[\u200c\u200d]|[\u200c\u200d](?![^\x00-\x7f])")
TAGS = re.compile("(\U0001f3f4[\U000e0020-\U000e007e]+\U000e007f)|[\U000e0001-\U000e007f]")
DRAWN = frozenset("\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd")
FILLERS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0")
STATES = ("open", "masked", "allowed")


def upgrade() -> None:
    with op.batch_alter_table("prompts") as table:
        table.add_column(sa.Column("masked_sha256", sa.String(length=64)))
        table.add_column(sa.Column("folded_sha256", sa.String(length=64)))
        table.add_column(sa.Column("language", sa.String(length=8)))
    names = ("id", "text_sha256", "folded_sha256", "split", "owner", "written_by_id", "writing_id")
    prompts = sa.table("prompts", sa.column("messages", JSON), *map(sa.column, names))
    _hash_again(prompts, prompts.c.messages, _of_messages, ())
    _fold(prompts)
    with op.batch_alter_table("prompts") as table:
        table.alter_column("folded_sha256", existing_type=sa.String(length=64), nullable=False)
        table.create_index(op.f("ix_prompts_masked_sha256"), ["masked_sha256"])
        table.create_index(op.f("ix_prompts_folded_sha256"), ["folded_sha256"])
        table.create_index(op.f("ix_prompts_language"), ["language"])
    completions = sa.table("completions", *map(sa.column, ("id", "text_sha256", "text", "prompt_id", "policy_id")))
    _hash_again(completions, completions.c.text, _of_text, (completions.c.prompt_id, completions.c.policy_id))
    _likeness()
    _personal_data()
    _written_by_held_out_labelers(prompts)


def _likeness() -> None:
    op.create_table(
        "near_prompts",
        _prompt(),
        _prompt("near_id"),
        _of_prompt("near_prompts"),
        _of_prompt("near_prompts", "near_id"),
        sa.PrimaryKeyConstraint("prompt_id", "near_id", name=op.f("pk_near_prompts")),
    )
    op.create_index(op.f("ix_near_prompts_near_id"), "near_prompts", ["near_id"])
    op.create_table(
        "prompt_bands",
        sa.Column("band", sa.BigInteger(), autoincrement=False, nullable=False),
        _prompt(),
        _of_prompt("prompt_bands"),
        sa.PrimaryKeyConstraint("band", "prompt_id", name=op.f("pk_prompt_bands")),
    )
    op.create_index(op.f("ix_prompt_bands_prompt_id"), "prompt_bands", ["prompt_id"])


def _personal_data() -> None:
    op.create_table(
        "findings",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("public_id", sa.String(length=32), nullable=False),
        _prompt(),
        sa.Column("message", sa.Integer(), nullable=False),
        sa.Column("start", sa.Integer(), nullable=False),
        sa.Column("stop", sa.Integer(), nullable=False),
        sa.Column("kind", _choice(KINDS, "personal_data"), nullable=False),
        sa.Column("state", _choice(STATES, "finding_state"), nullable=False),
        sa.Column("decided_by_id", sa.Integer()),
        sa.Column("decided_at", sa.DateTime(timezone=True)),
        _of_prompt("findings"),
        sa.ForeignKeyConstraint(
            ["decided_by_id"], ["accounts.id"], name=op.f("fk_findings_decided_by_id"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_findings")),
        sa.UniqueConstraint("public_id", name=op.f("uq_findings_public_id")),
    )
    op.create_index(op.f("ix_findings_prompt_id"), "findings", ["prompt_id"])
    op.create_index(op.f("ix_findings_state"), "findings", ["state"])
    with op.batch_alter_table("snapshot_members") as table:
        table.add_column(sa.Column("open_personal_data", sa.Boolean(), nullable=False, server_default=sa.false()))
        table.create_check_constraint(
            op.f("ck_snapshot_members_personal_data"), "NOT (split = 'train' AND open_personal_data)"
        )
    with op.batch_alter_table("snapshot_members") as table:
        table.alter_column("open_personal_data", server_default=None)


def _prompt(name: str = "prompt_id") -> sa.Column:
    return sa.Column(name, sa.Integer(), nullable=False)


def _of_prompt(table: str, column: str = "prompt_id") -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], ["prompts.id"], name=op.f(f"fk_{table}_{column}"), ondelete="CASCADE")


def _choice(values: Sequence[str], name: str) -> sa.Enum:
    return sa.Enum(*values, name=name, native_enum=False, create_constraint=True, length=32)


def _written_by_held_out_labelers(prompts: sa.TableClause) -> None:
    """Take what they wrote out of train, and give it an owner of its own: a labeler may change pools."""
    accounts = sa.table("accounts", *map(sa.column, ("id", "username", "pool")))
    held_out = sa.select(accounts.c.id).where(accounts.c.pool == "held-out")
    name = sa.select(accounts.c.username).where(accounts.c.id == prompts.c.written_by_id).scalar_subquery()
    theirs = [prompts.c.writing_id.is_not(None), prompts.c.written_by_id.in_(held_out)]
    op.execute(
        sa.update(prompts).where(*theirs).values(owner=sa.literal("held-out labeler ").concat(name), split="validation")
    )


def _of_messages(messages: list[dict]) -> str:
    turns = [[message["role"], _normal_form(message["text"]).strip()] for message in messages]
    return _sha256(json.dumps(turns, ensure_ascii=False, separators=(",", ":")))


def _folded(messages: list[dict]) -> str:
    turns = [[message["role"], " ".join(_normal_form(message["text"]).casefold().split())] for message in messages]
    return _sha256(json.dumps(turns, ensure_ascii=False, separators=(",", ":")))


def _of_text(text: str) -> str:
    return _sha256(_normal_form(text))


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


def _fold(prompts: sa.TableClause) -> None:
    connection = op.get_bind()
    query = sa.select(prompts.c.id, prompts.c.messages).order_by(prompts.c.id).limit(BATCH)
    fill = (
        sa.update(prompts)
        .where(prompts.c.id == sa.bindparam("of", type_=sa.Integer()))
        .values(folded_sha256=sa.bindparam("digest", type_=sa.String()))
    )
    last = 0
    while rows := connection.execute(query.where(prompts.c.id > last)).all():
        connection.execute(fill, [{"of": id, "digest": _folded(messages)} for id, messages in rows])
        last = rows[-1].id


def downgrade() -> None:
    with op.batch_alter_table("snapshot_members") as table:
        table.drop_constraint(op.f("ck_snapshot_members_personal_data"), type_="check")
        table.drop_column("open_personal_data")
    for name in ("findings", "prompt_bands", "near_prompts"):
        op.drop_table(name)
    with op.batch_alter_table("prompts") as table:
        table.drop_index(op.f("ix_prompts_language"))
        table.drop_index(op.f("ix_prompts_folded_sha256"))
        table.drop_index(op.f("ix_prompts_masked_sha256"))
        for name in ("language", "folded_sha256", "masked_sha256"):
            table.drop_column(name)
