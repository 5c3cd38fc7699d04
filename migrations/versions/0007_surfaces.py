"""By which door an act came in, and when a session was last used.

Revision ID: 0007
Revises: 0006
"""

import sqlalchemy as sa
from alembic import op

revision, down_revision, branch_labels, depends_on = "0007", "0006", None, None

SURFACE = sa.Enum(
    "page", "rest", "command_line", "worker", name="surface", native_enum=False, create_constraint=True, length=32
)


def upgrade() -> None:
    with op.batch_alter_table("audit_entries") as table:
        table.add_column(sa.Column("surface", SURFACE, nullable=True))
    # Of earlier acts only this one is known to have come from a page.
    op.execute("UPDATE audit_entries SET surface = 'page' WHERE action = 'sign_in.fail'")
    with op.batch_alter_table("sign_in_sessions") as table:
        table.add_column(sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True))
    op.execute("UPDATE sign_in_sessions SET last_used_at = CURRENT_TIMESTAMP")  # nobody is signed out by the upgrade
    with op.batch_alter_table("sign_in_sessions") as table:
        table.alter_column("last_used_at", existing_type=sa.DateTime(timezone=True), nullable=False)


def downgrade() -> None:
    with op.batch_alter_table("sign_in_sessions") as table:
        table.drop_column("last_used_at")
    with op.batch_alter_table("audit_entries") as table:
        table.drop_constraint(op.f("ck_audit_entries_surface"), type_="check")
        table.drop_column("surface")
