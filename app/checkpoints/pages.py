"""Checkpoint pages for admins: trained models, their lineage, and adding a model by path."""

import json

from fastapi import APIRouter, Request, Response

from app.checkpoints import queries, rules
from app.checkpoints.tables import CheckpointRole
from app.database import reading, transaction
from app.errors import PlumblineError
from app.kit.i18n import gettext as _
from app.kit.text import Text
from app.web.auth import admin
from app.web.responses import FormText, flash, page, redirect

router = APIRouter(include_in_schema=False)


@router.get("/admin/checkpoints")
def list_page(request: Request, cursor: Text | None = None, role: Text = "") -> Response:
    """Show all checkpoints, or those with one role."""
    account = admin(request)
    wanted = CheckpointRole(role) if role in list(CheckpointRole) else None
    with reading() as session:
        found, following = queries.listing(session, cursor, role=wanted)
    return page(
        request, "checkpoints/list.html", account, checkpoints=found, following=following, role=role,
        roles=list(CheckpointRole),
    )  # fmt: skip


@router.get("/admin/checkpoints/new")
def new_page(request: Request) -> Response:
    """Show the form that adds a model by path."""
    given = {"path": "", "name": "", "role": CheckpointRole.BASE}
    return page(request, "checkpoints/new.html", admin(request), given=given, error=None)


@router.post("/admin/checkpoints/new")
def add(request: Request, path: FormText = "", name: FormText = "", role: FormText = "") -> Response:
    """Add a model by path."""
    account = admin(request)
    try:
        chosen = CheckpointRole(role) if role in list(CheckpointRole) else CheckpointRole.BASE
        with transaction() as session:
            made = rules.register_path(session, path, name, role=chosen, by=account)
    except PlumblineError as error:
        given = {"path": path, "name": name, "role": role}
        return page(request, "checkpoints/new.html", account, status=error.status, given=given, error=error)
    return redirect(f"/admin/checkpoints/{made.public_id}")


@router.get("/admin/checkpoints/{id}")
def detail_page(request: Request, id: str) -> Response:
    """Show one checkpoint with its lineage."""
    account = admin(request)
    with reading() as session:
        checkpoint = queries.find(session, id)
        line = queries.descent(session, checkpoint)
        children = queries.children(session, checkpoint)
    job = checkpoint.job
    config = {key: value for key, value in job.config.items() if value is not None} if job else {}
    return page(
        request, "checkpoints/detail.html", account, checkpoint=checkpoint, line=line, children=children,
        config=json.dumps(config, indent=2), place=rules.folder(checkpoint),
    )  # fmt: skip


@router.post("/admin/checkpoints/{id}/policy")
def make_policy(request: Request, id: str, name: FormText = "") -> Response:
    """Make the checkpoint a policy."""
    account = admin(request)
    response = redirect(f"/admin/checkpoints/{id}")
    try:
        with transaction() as session:
            policy = rules.make_policy(session, queries.find(session, id), name=name, by=account)
        flash(response, _("This checkpoint is now the policy “%(name)s”.") % {"name": policy.name})
    except PlumblineError as error:
        if error.status == 404:
            raise
        flash(response, error.message)
    return response
