"""Checkpoints over REST."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from sqlalchemy.orm import Session

from app.checkpoints import queries, rules
from app.checkpoints.schemas import (
    CheckpointIn,
    CheckpointOut,
    CheckpointPage,
    DescentOut,
    PolicyNameIn,
)
from app.checkpoints.tables import Checkpoint, CheckpointRole
from app.database import reading, transaction
from app.kit.text import Text
from app.web.auth import api_account

router = APIRouter(tags=["checkpoints"])
Limit = Annotated[int, Query(ge=1, le=500)]


def out(session: Session, checkpoint: Checkpoint) -> CheckpointOut:
    """Return a checkpoint as its REST representation."""
    job = checkpoint.job
    snapshot = job.snapshot if job else None
    return CheckpointOut.model_validate(
        {
            **checkpoint.__dict__,
            "id": checkpoint.public_id,
            "job": job.public_id if job else None,
            "snapshot": snapshot.public_id if snapshot else None,
            "snapshot_sha256": snapshot.content_sha256 if snapshot else None,
            "parent": checkpoint.parent.public_id if checkpoint.parent else None,
            "reward_model": checkpoint.reward_model.public_id if checkpoint.reward_model else None,
            "round": checkpoint.round_number,
            "policy": checkpoint.policy.public_id if checkpoint.policy else None,
        }
    )


@router.get("/api/v1/checkpoints")
def list_checkpoints(
    request: Request, role: CheckpointRole | None = None, cursor: Text | None = None, limit: Limit = 100
) -> CheckpointPage:
    """List checkpoints, newest first."""
    api_account(request, "read")
    with reading() as session:
        found, following = queries.listing(session, cursor, limit, role)
        return CheckpointPage(items=[out(session, one) for one in found], next_cursor=following)


@router.post("/api/v1/checkpoints", status_code=201)
def add_checkpoint(request: Request, given: CheckpointIn) -> CheckpointOut:
    """Add a model of your own by path."""
    by = api_account(request, "jobs")
    with transaction() as session:
        made = rules.register_path(session, given.path, given.name, role=given.role, by=by)
        session.refresh(made)
        return out(session, made)


@router.get("/api/v1/checkpoints/{id}")
def read_checkpoint(request: Request, id: str) -> CheckpointOut:
    """Get one checkpoint."""
    api_account(request, "read")
    with reading() as session:
        return out(session, queries.find(session, id))


@router.get("/api/v1/checkpoints/{id}/descent", summary="Read Lineage")
def read_descent(request: Request, id: str) -> DescentOut:
    """Get the lineage of a checkpoint: itself, its parent, and so on back to the first model."""
    api_account(request, "read")
    with reading() as session:
        line = queries.descent(session, queries.find(session, id))
        return DescentOut(
            line=[out(session, link.checkpoint) for link in line],
            configs=[link.job.config if link.job else None for link in line],
        )


@router.post("/api/v1/checkpoints/{id}/policy", status_code=201)
def make_policy(request: Request, id: str, given: PolicyNameIn) -> CheckpointOut:
    """Make the checkpoint a policy, whose completions rounds can use. If it already is one, nothing changes."""
    by = api_account(request, "jobs")
    with transaction() as session:
        checkpoint = queries.find(session, id)
        rules.make_policy(session, checkpoint, name=given.name, by=by)
        session.refresh(checkpoint)
        return out(session, checkpoint)
