"""Job pages for admins: the list with the workers' state, starting a job, and following it live."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from typing import Annotated

from anyio.to_thread import run_sync
from fastapi import APIRouter, Form, Request, Response
from fastapi.sse import EventSourceResponse, format_sse_event

from app import queue
from app.checkpoints import queries as checkpoint_queries
from app.checkpoints import rules as checkpoints
from app.checkpoints import sampling
from app.checkpoints.tables import Checkpoint
from app.database import reading, transaction
from app.errors import BadInput, NotFound, NotSignedIn, PlumblineError
from app.jobs import charts, queries, rules
from app.jobs.keys import parse_keys
from app.jobs.stream import follow
from app.jobs.tables import Job, JobEvent, JobState, JobVerb
from app.kit.i18n import gettext as _
from app.kit.text import Text, TypedText
from app.runs.supervisor import tail
from app.snapshots import queries as snapshot_queries
from app.web.auth import admin, still_signed_in
from app.web.responses import FormText, flash, fragment, page, polled, redirect
from training.contract import recipes

router = APIRouter(include_in_schema=False)
LongText = Annotated[TypedText, Form(max_length=20_000)]
LOG_LINES = 40
SAMPLES = 6


@router.get("/admin/jobs")
def list_page(request: Request, cursor: Text | None = None) -> Response:
    """Show all jobs and the workers that could run them; htmx polls the list while a job is queued or running."""
    account = admin(request)
    with reading() as session:
        jobs, following = queries.listing(session, cursor)
    moves = any(job.state in (JobState.QUEUED, JobState.RUNNING) for job in jobs)
    return polled(
        request, "jobs/list.html", "jobs", account,
        jobs=jobs, cursor=cursor, following=following, moves=moves, workers=queue.workers(queue.TRAINING),
    )  # fmt: skip


@router.get("/admin/jobs/new")
def new_page(request: Request, snapshot: Text = "", checkpoint: Text = "") -> Response:
    """Show the form that starts a job."""
    return _form(request, {"recipe": "", "data": snapshot, "init_from": checkpoint, "reward_model": "", "set": ""})


def _form(request: Request, given: dict, error: BadInput | None = None):
    account = admin(request)
    with reading() as session:
        snapshots = snapshot_queries.ready(session)
        networks, _following = checkpoint_queries.listing(session, limit=200)
    by_verb = {
        verb: [name for name, recipe in recipes.RECIPES.items() if recipe.verb == verb] for verb in map(str, JobVerb)
    }
    return page(
        request,
        "jobs/new.html",
        account,
        status=error.status if error else 200,
        given=given,
        error=error,
        recipes=by_verb,
        snapshots=snapshots,
        checkpoints=networks,
    )


@router.post("/admin/jobs/new")
def create(
    request: Request,
    recipe: FormText = "",
    data: FormText = "",
    init_from: FormText = "",
    reward_model: FormText = "",
    set: LongText = "",
) -> Response:
    """Queue a job and redirect to its page."""
    account = admin(request)
    given = {"recipe": recipe, "data": data, "init_from": init_from, "reward_model": reward_model, "set": set}
    verb, _slash, name = recipe.partition("/")
    try:
        if verb not in list(JobVerb):
            raise BadInput(_("Choose a type of job."), field="recipe")
        config = {"recipe": name} if name else {}
        config |= {"data": f"snapshot:{data}"} if data else {}
        config |= {key: f"checkpoint:{given[key]}" for key in ("init_from", "reward_model") if given[key]}
        config |= parse_keys(set)
        with transaction() as session:
            job = checkpoints.create_job(session, JobVerb(verb), config, by=account)
    except BadInput as error:
        return _form(request, given, error)
    return redirect(f"/admin/jobs/{job.public_id}", _("The job is queued."))


@dataclass(frozen=True)
class View:
    """A job as its page shows it."""

    job: Job
    is_over: bool
    note: str
    charts: list[charts.Chart]
    samples: list[JobEvent]
    warnings: list[JobEvent]
    read: dict[str, dict[str, int]]  # for each data file, the number of lines per use, in the last attempt
    checkpoints: list[Checkpoint]
    log: list[str]
    workers: list[str] | None


def _view(public_id: str) -> View:
    workers = queue.workers(queue.TRAINING)
    with reading() as session:
        job = queries.find(session, public_id)
        progress = queries.latest(session, job, "progress")
        data = queries.latest(session, job, "data", limit=20)[::-1]
        return View(
            job=job,
            is_over=job.state in rules.OVER,
            note=progress[0].body["note"] if progress else "",
            charts=charts.draw(queries.curves(session, job)),
            samples=queries.latest(session, job, "sample", limit=SAMPLES),
            warnings=queries.latest(session, job, "warning", limit=20)[::-1],
            read={event.body["file"]: event.body["uses"] for event in data},
            checkpoints=checkpoint_queries.of_job(session, job),
            log=tail(rules.folder(job), LOG_LINES),
            workers=workers,
        )


@router.get("/admin/jobs/{id}")
def detail_page(request: Request, id: str) -> Response:
    """Show one job, live."""
    account = admin(request)
    view = _view(id)
    config = {key: value for key, value in view.job.config.items() if value is not None}
    return page(request, "jobs/detail.html", account, view=view, config=json.dumps(config, indent=2))


@router.get("/admin/jobs/{id}/stream")
async def stream(request: Request, id: str) -> Response:
    """Send the live block of the page as a server-sent event whenever it changes."""
    job_id = await run_sync(_which, request, id)
    return EventSourceResponse(
        _messages(request, id, job_id), headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    )


def _which(request: Request, id: str) -> int:
    admin(request)
    with reading() as session:
        return queries.find(session, id).id


async def _messages(request: Request, id: str, job_id: int) -> AsyncIterator[bytes]:
    async for _standing in follow(job_id):
        try:
            html = await run_sync(partial(_live, request, id))
        except (NotSignedIn, NotFound):
            break  # the page reloads and shows the reason
        yield format_sse_event(data_str=html)
    yield format_sse_event(data_str="over", event="done")


def _live(request: Request, id: str) -> str:
    still_signed_in(request)
    account = admin(request)
    return bytes(fragment(request, "jobs/detail.html", "live", account, view=_view(id)).body).decode()


@router.get("/admin/jobs/{id}/metrics")
def metrics_page(request: Request, id: str) -> Response:
    """Show the curves' numbers as tables."""
    account = admin(request)
    with reading() as session:
        job = queries.find(session, id)
        curves = queries.curves(session, job)
    return page(request, "jobs/metrics.html", account, job=job, curves=curves)


@router.post("/admin/jobs/{id}/cancel")
def cancel(request: Request, id: str) -> Response:
    """Cancel the job."""
    return _act(request, id, rules.cancel, _("The job is being canceled."))


@router.post("/admin/jobs/{id}/resume")
def resume(request: Request, id: str) -> Response:
    """Resume the job."""
    return _act(request, id, rules.resume, _("The job is queued again and resumes where it stopped."))


@router.post("/admin/jobs/{id}/completions")
def take_in(request: Request, id: str) -> Response:
    """Add a sampling job's completions to its checkpoint's policy."""
    return _act(request, id, sampling.request, _("The completions are being added to the job's policy."))


def _act(request: Request, id: str, act, done: str):
    account = admin(request)
    response = redirect(f"/admin/jobs/{id}")
    try:
        with transaction() as session:
            job = queries.find(session, id)
            act(session, job, account)
        flash(response, _("The job is canceled.") if job.state is JobState.CANCELLED else done)
    except PlumblineError as error:
        if error.status == 404:
            raise
        flash(response, error.message)
    return response
