"""Admin page for one completion."""

from fastapi import APIRouter, Request, Response

from app.completions import rules
from app.database import reading
from app.web.auth import admin
from app.web.responses import page

router = APIRouter(include_in_schema=False)


@router.get("/admin/completions/{id}")
def completion(request: Request, id: str) -> Response:
    """Show a completion with its prompt, its policy and its sampling settings."""
    account = admin(request)
    with reading() as session:
        found = rules.completion(session, id)
    return page(request, "completions/one.html", account, completion=found)
