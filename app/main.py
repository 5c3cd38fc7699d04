"""Assembly of the web application."""

from fastapi import APIRouter, Depends, FastAPI
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DataError
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

from app.accounts import admin_pages as accounts_admin_pages
from app.accounts import api as accounts_api
from app.accounts import pages as accounts_pages
from app.checkpoints import api as checkpoints_api
from app.checkpoints import pages as checkpoints_pages
from app.comparisons import api as comparisons_api
from app.comparisons import import_api as comparisons_import_api
from app.comparisons import pages as comparisons_pages
from app.completions import api as completions_api
from app.completions import pages as completions_pages
from app.config import settings
from app.conversations import api as conversations_api
from app.conversations import pages as conversations_pages
from app.demonstrations import api as demonstrations_api
from app.demonstrations import pages as demonstrations_pages
from app.desk import api as desk_api
from app.desk import overview_api, overview_pages
from app.desk import pages as desk_pages
from app.errors import PlumblineError
from app.guidelines import api as guidelines_api
from app.guidelines import form_pages as guidelines_form_pages
from app.guidelines import pages as guidelines_pages
from app.jobs import api as jobs_api
from app.jobs import pages as jobs_pages
from app.launch import health_api
from app.onboarding import admin_pages as onboarding_admin_pages
from app.onboarding import api as onboarding_api
from app.onboarding import pages as onboarding_pages
from app.plans import api as plans_api
from app.plans import pages as plans_pages
from app.policies import api as policies_api
from app.policies import pages as policies_pages
from app.prompt_writing import api as prompt_writing_api
from app.prompt_writing import pages as prompt_writing_pages
from app.prompts import api as prompts_api
from app.prompts import findings_api as prompts_findings_api
from app.prompts import findings_pages as prompts_findings_pages
from app.prompts import import_pages as prompts_import_pages
from app.prompts import pages as prompts_pages
from app.reports import api as reports_api
from app.reports import pages as reports_pages
from app.rounds import api as rounds_api
from app.rounds import pages as rounds_pages
from app.rounds import round_pages
from app.simulation import api as simulation_api
from app.simulation import pages as simulation_pages
from app.snapshots import api as snapshots_api
from app.snapshots import pages as snapshots_pages
from app.web import monitoring, openapi
from app.web.auth import api_account, session_account
from app.web.bodies import Bodies
from app.web.error_pages import error_response
from app.web.monitoring import Observe
from app.web.security import RequestGuard, check_csrf
from app.web.templates import STATIC

ROUTERS = [  # routes are tried in this order, so those of the desk come first
    overview_api.router,
    desk_api.router,
    overview_pages.router,
    desk_pages.router,
    health_api.router,
    monitoring.router,
    openapi.router,
    accounts_pages.router,
    accounts_admin_pages.router,
    accounts_api.router,
    policies_pages.router,
    completions_pages.router,
    rounds_pages.router,
    round_pages.router,
    prompts_import_pages.router,
    prompt_writing_pages.router,
    prompts_findings_pages.router,
    prompts_pages.router,
    guidelines_pages.router,
    guidelines_form_pages.router,
    guidelines_api.router,
    prompt_writing_api.router,
    prompts_findings_api.router,
    prompts_api.router,
    policies_api.router,
    completions_api.router,
    comparisons_import_api.router,
    rounds_api.router,
    reports_api.router,
    reports_pages.router,
    demonstrations_api.router,
    demonstrations_pages.router,
    conversations_api.router,
    conversations_pages.router,
    comparisons_api.router,
    comparisons_pages.router,
    onboarding_api.router,
    onboarding_pages.router,
    onboarding_admin_pages.router,
    snapshots_api.router,
    snapshots_pages.router,
    jobs_api.router,
    jobs_pages.router,
    checkpoints_api.router,
    checkpoints_pages.router,
    plans_api.router,
    plans_pages.router,
    simulation_api.router,
    simulation_pages.router,
]


class _Plumbline(FastAPI):
    def openapi(self) -> dict:
        return openapi.describe(self)


def create_app() -> FastAPI:
    """Create the application of one web process."""
    app = _Plumbline(
        title="Plumbline",
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/v1/openapi.json",
        dependencies=[Depends(check_csrf)],
    )
    # Not on the app itself, whose limit would respond outside our middleware; import routes set a larger limit.
    limited = APIRouter(max_body_size=settings().max_body_bytes)
    for router in ROUTERS:
        limited.include_router(router)
    app.include_router(limited)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    for kind in (PlumblineError, HTTPException, RequestValidationError, DataError):
        app.add_exception_handler(kind, error_response)
    app.add_middleware(Bodies, refuse=error_response, who=session_account, token=api_account)
    app.add_middleware(RequestGuard, refuse=error_response)
    app.add_middleware(Observe)  # the last one added is the outermost
    return app
