"""Liveness (/healthz) and readiness (/readyz) of this process."""

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from sqlalchemy.exc import SQLAlchemyError

from app.kit import disk
from app.launch import migrate
from app.queue import DEFAULT, workers

router = APIRouter(include_in_schema=False)


@router.get("/healthz")
def healthz() -> dict[str, str]:
    """Report that the process responds."""
    return {"status": "ok"}


@router.get("/readyz")
def readyz() -> JSONResponse:
    """Check that database, broker and disk respond and that the schema matches the code; 503 says what is missing."""
    lacking = {}
    try:
        disk.check()
    except OSError as error:
        lacking["disk"] = f"nothing can be written ({error.strerror}); free disk space, see plumbline doctor"
    try:
        migrate.check()
    except migrate.WrongSchema as error:
        lacking["database"] = error.message
    except SQLAlchemyError as error:
        lacking["database"] = type(error).__name__
    if workers(DEFAULT) is None:
        lacking["broker"] = "does not answer"
    return JSONResponse({"status": "not ready" if lacking else "ready", **lacking}, 503 if lacking else 200)
