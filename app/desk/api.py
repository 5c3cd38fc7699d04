"""A labeler's whole day over REST; docs/rest-labeling.md shows it with an example."""

from typing import Annotated

from fastapi import APIRouter, Header, Request, Response

from app.assignments import drafts, queries, rules, situation, slots, task
from app.assignments.situation import Situation
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
from app.desk.submit import kind_of, matching
from app.desk.submit import submit as submit_answer
from app.desk.task_json import as_shown, shown
from app.errors import BadInput, Conflict
from app.kit.i18n import gettext as _
from app.kit.text import Text
from app.web.auth import api_account, working
from app.web.quick import quick
from app.web.responses import as_json

router = APIRouter(prefix="/api/v1/assignments", tags=["assignments"])
IF_MATCH = Header(alias="If-Match", description='The version of the draft that you last saw, such as "0".')


@router.post("/next", response_model=AssignmentOut, responses={204: {"description": "No assignment is available."}})
@quick
def next_assignment(request: Request, given: NextIn | None = None) -> Response:
    """Lease the labeler's unfinished assignment, or else the next one; `round` limits the choice to one round."""
    with transaction() as session:
        labeler, found = working(request, session, *situation.COLUMNS)
        claimed = rules.claim(session, labeler, given.round if given else None, Situation(*found))
    return Response(status_code=204) if claimed is None else as_json(*as_shown(claimed, labeler))


@router.get("/{id}", response_model=AssignmentOut)
@quick
def assignment(request: Request, id: str) -> Response:
    """Get an assignment that the labeler was given, with its current draft."""
    return as_json(*shown(id, api_account(request, "work")))


@router.post("/{id}/draft", response_model=SavedOut)
@quick
def draft(request: Request, id: str, body: DraftIn, if_match: Annotated[Text, IF_MATCH]) -> Response:
    """Save the draft if it is still the version named by If-Match."""
    with transaction() as session:
        labeler, _none = working(request, session, locks=False)
        version = parse_etag(if_match)
        content = body.content.model_dump(mode="json")
        saved = drafts.save_held(
            session, id, labeler, kind_of(body.content), content, version=version, active_seconds=body.active_seconds
        )
        if saved is None:  # not as it should be: find out why
            try:
                found = task.read(session, id, labeler)
                matching(found.item.kind, body.content)
                renewed = drafts.save(
                    session, found, labeler, content, version=version, active_seconds=body.active_seconds
                )
            except Conflict as error:
                error.current = {**(error.current or {}), "yours": content}
                raise
            now = task.read(session, id, labeler)
            state = queries.labeler_state(now, labeler, now.draft)
            saved = drafts.SavedHeld(*renewed, state, now.lease_until if state is queries.LabelerState.HELD else None)
    answer = {"version": saved.version, "saved_at": saved.at, "state": saved.state, "lease_until": saved.lease_until}
    return as_json(answer, saved.version)


@router.post("/{id}/submit", response_model=SubmittedOut)
@quick
def submit(
    request: Request,
    id: str,
    body: Submission,
    idempotency_key: Annotated[Text, Header(max_length=200)] = "",
    if_match: Annotated[Text | None, IF_MATCH] = None,
) -> Response:
    """Submit an assignment once; the same content under the same Idempotency-Key returns the same answer again."""
    with transaction() as session:
        labeler, _none = working(request, session)
        found = task.read(session, id, labeler, keeps_round=True)
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
        answer = {
            "id": id,
            "kind": found.item.kind,
            "late": late,
            "surplus": stored.surplus,
            "submitted_at": stored.submitted_at,
        }
    return as_json(answer)


@router.post("/{id}/skip", status_code=204)
@quick
def skip(request: Request, id: str, body: SkipIn) -> None:
    """Skip an assignment; it is never offered to this labeler again."""
    with transaction() as session:
        labeler, _none = working(request, session)
        rules.skip(session, task.read(session, id, labeler), labeler, body.reason, body.note)


@router.post("/{id}/heartbeat")
@quick
def heartbeat(request: Request, id: str, body: HeartbeatIn) -> HeartbeatOut:
    """Renew the lease of an assignment that is still being worked on."""
    with transaction() as session:
        labeler, _none = working(request, session, locks=False)
        until = slots.renew_given(session, id, labeler, body.fence)
        if until is None:  # not as it should be: find out why
            until = rules.heartbeat(session, task.read(session, id, labeler), labeler, body.fence)
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
