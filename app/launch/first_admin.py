"""The terminal hint where to create the first admin."""

import typer

from app.accounts import queries, rules
from app.config import settings
from app.database import reading
from app.kit.places import is_loopback


def tell_the_first_admin() -> None:
    """Print where to create the first admin if none exists; unless the host is loopback, the URL includes a code."""
    with reading() as session:
        if not queries.has_admin(session):
            code = "" if is_loopback(settings().host) else f"?code={rules.first_run_code()}"
            typer.echo(f"  create the first admin at {settings().base_url}/first-run{code}")
