"""The OpenAPI document of the REST interface, and the page that shows it."""

from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, Field

from app.web.responses import page

router = APIRouter(include_in_schema=False)

ABOUT = """Everything that the pages do, and more. Send an API token: `Authorization: Bearer plumb_…`. A token has \
scopes: `work` is for labeling; `read`, `write`, `jobs` and `accounts` need an admin. Lists are \
`{items, next_cursor}`; pass `next_cursor` as `cursor` to get the next page. Errors are problem details (RFC 9457)."""


class Problem(BaseModel):
    """Problem details, as in RFC 9457."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str = Field(description="What is wrong, with the field, the value and the next step.")
    field: str | None = Field(None, description="The field at fault, if there is one.")
    errors: list[dict] | None = Field(None, description="Every field at fault, if the request is not valid.")
    current: object = Field(None, description="With 409: the current state.")
    request_id: str | None = Field(None, description="The reference of this request in the log.")


RESPONSES = {
    "400": "The request cannot be understood.",
    "401": "The token is missing, unknown, revoked or expired.",
    "403": "The token lacks the scope that is needed.",
    "404": "Not found, or not visible to this account.",
    "405": "The address does not accept this method.",
    "408": "The body did not arrive in time.",
    "409": "The resource has changed in the meantime, or its state does not allow this.",
    "413": "The body is too large.",
    "422": "A value is not valid; `field` names it.",
    "429": "Too many requests; `Retry-After` says when to try again.",
    "507": "Nothing can be saved: the disk is full or failing.",
}


NO_FINDER: dict[int | str, dict[str, Any]] = {
    501: {"description": "PLUMBLINE_PERSONAL_DATA asks for presidio, which is not installed."}
}


def describe(app: FastAPI) -> dict:
    """Return the OpenAPI document: the routes under /api/, bearer tokens and the problem responses."""
    if app.openapi_schema:
        return app.openapi_schema
    made = get_openapi(title=app.title, version="1", description=ABOUT, routes=app.routes)
    made["paths"] = {path: acts for path, acts in made["paths"].items() if path.startswith("/api/")}
    schemas = made.setdefault("components", {}).setdefault("schemas", {})
    schemas["Problem"] = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    made["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    made["security"] = [{"token": []}]
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for acts in made["paths"].values():
        for act in acts.values():
            for status, description in RESPONSES.items():
                act["responses"][status] = {"description": description, "content": content}
            for status, response in act["responses"].items():
                if status >= "5":  # described by the route itself
                    response["content"] = content
    for schema in schemas.values():
        if "next_cursor" in schema.get("properties", {}):  # always sent, even if null
            schema["required"] = sorted({*schema["required"], "next_cursor"})
    app.openapi_schema = made
    return made


@router.get("/docs")
def docs(request: Request):
    """Show the REST interface, to read and to try."""
    return page(request, "docs.html")
