"""A labeler's whole day over REST; docs/rest-labeling.md shows it with an example."""

from typing import Annotated

from fastapi import APIRouter, Header, Request, Response

from app.assignments import drafts, queries, rules
from app.database import transaction
from app.desk.schemas import (
    AssignmentOut,
    DraftIn,
    HeartbeatIn,
    HeartbeatOut,
    NextIn,
    SavedOut,
    SkipIn,
    Submission,
    SubmittedOut,
)
from app.desk.submit import matching
from app.desk.submit import submit as submit_answer
from app.desk.task_json import shown
from app.errors import BadInput, Conflict
from app.kit.i18n import gettext as _
from app.kit.text import Text
from app.web.auth import api_account
from app.web.quick import quick

router = APIRouter(prefix="/api/v1/assignments", tags=["assignments"])
IF_MATCH = Header(alias="If-Match", description='The version of the draft that you last saw, such as "0".')


@router.post("/next", response_model=AssignmentOut, responses={204: {"description": "No assignment is available."}})
@quick
def next_assignment(request: Request, response: Response, given: NextIn | None = None):
    """Lease the labeler's unfinished assignment, or else the next one; `round` limits the choice to one round."""
    labeler = api_account(request, "work")
    with transaction() as session:
        claimed = rules.claim(session, labeler, given.round if given else None)
    if claimed is None:
        return Response(status_code=204)
    return shown(response.headers, claimed.public_id, labeler)


@router.get("/{id}")
@quick
def assignment(request: Request, response: Response, id: str) -> AssignmentOut:
    """Get an assignment that the labeler was given, with its current draft."""
    return shown(response.headers, id, api_account(request, "work"))


@router.post("/{id}/draft")
@quick
def draft(
    request: Request, response: Response, id: str, body: DraftIn, if_match: Annotated[Text, IF_MATCH]
) -> SavedOut:
    """Save the draft if it is still the version named by If-Match."""
    labeler = api_account(request, "work")
    version = parse_etag(if_match)
    with transaction() as session:
        found = queries.assignment(session, id, labeler)
        content = matching(found.item.kind, body.content)
        try:
            saved = drafts.save(
                session,
                found,
                labeler,
                content.model_dump(mode="json"),
                version=version,
                active_seconds=body.active_seconds,
            )
        except Conflict as error:
            error.current = {**(error.current or {}), "yours": content.model_dump(mode="json")}
            raise
        session.refresh(found)
        state = queries.labeler_state(found, labeler, queries.draft(session, found, labeler))
    response.headers["ETag"] = f'"{saved.version}"'
    return SavedOut(
        version=saved.version,
        saved_at=saved.at,
        state=state,
        lease_until=found.lease_until if state is queries.LabelerState.HELD else None,
    )


@router.post("/{id}/submit")
@quick
def submit(
    request: Request,
    id: str,
    body: Submission,
    idempotency_key: Annotated[Text, Header(max_length=200)] = "",
    if_match: Annotated[Text | None, IF_MATCH] = None,
) -> SubmittedOut:
    """Submit an assignment once; the same content under the same Idempotency-Key returns the same answer again."""
    labeler = api_account(request, "work")
    with transaction() as session:
        found = queries.assignment(session, id, labeler)
        late = found.labeler_id != labeler.id or found.fence != body.fence
        stored = submit_answer(
            session,
            found,
            labeler,
            body,
            key=idempotency_key,
            version=None if if_match is None else parse_etag(if_match),
            active_seconds=body.active_seconds,
        )
    return SubmittedOut(
        id=id, kind=found.item.kind, late=late, surplus=stored.surplus, submitted_at=stored.submitted_at
    )


@router.post("/{id}/skip", status_code=204)
@quick
def skip(request: Request, id: str, body: SkipIn) -> None:
    """Skip an assignment; it is never offered to this labeler again."""
    labeler = api_account(request, "work")
    with transaction() as session:
        rules.skip(session, queries.assignment(session, id, labeler), labeler, body.reason, body.note)


@router.post("/{id}/heartbeat")
@quick
def heartbeat(request: Request, id: str, body: HeartbeatIn) -> HeartbeatOut:
    """Renew the lease of an assignment that is still being worked on."""
    labeler = api_account(request, "work")
    with transaction() as session:
        until = rules.heartbeat(session, queries.assignment(session, id, labeler), labeler, body.fence)
    return HeartbeatOut(fence=body.fence, lease_until=until)


def parse_etag(if_match: str) -> int:
    """Return the version in an If-Match header: '"3"' -> 3; raise BadInput for anything else."""
    version = if_match.strip().removeprefix("W/").strip('"')
    if not version.isdecimal() or len(version) > 9:
        raise BadInput(
            _('If-Match is %(given)r; send the version of the draft you last saw, such as "0".') % {"given": if_match},
            field="If-Match",
        )
    return int(version)
