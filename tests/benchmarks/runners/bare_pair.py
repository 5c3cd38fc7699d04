"""The least that a labeling server can do: two routes, `next` and `submit`, of one statement each.

No accounts, leases or checks. `BARE_DATABASE` is a PostgreSQL address or an SQLite file; run with
`uvicorn tests.benchmarks.runners.bare_pair:app`.
"""

import asyncio
import json
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
from fastapi import FastAPI, Request, Response
from pydantic import BaseModel

CONNECTIONS = 8
DATABASE = os.environ["BARE_DATABASE"]
ON_POSTGRESQL = DATABASE.startswith("postgresql")
TAKE = """UPDATE bare_tasks SET labeler = {0}
 WHERE id = (SELECT id FROM bare_tasks WHERE labeler IS NULL ORDER BY id LIMIT 1 {1}) RETURNING id, content"""
STORE = "UPDATE bare_tasks SET answer = {0} WHERE id = {0} AND labeler = {0} RETURNING id"


class Answered(BaseModel):
    """One completion's answers."""

    rating: int
    flags_complete: bool
    tier: int


class Ranking(BaseModel):
    """A submission of K completions."""

    fence: int
    completions: dict[str, Answered]
    notes: str


def prepare(tasks: int) -> None:
    """Replace the table by one with so many tasks of K = 4."""
    texts = [{"letter": letter, "text": f"completion {letter} " * 20} for letter in "ABCD"]
    content = json.dumps({"prompt": [{"role": "user", "text": "prompt " * 20}], "completions": texts})
    made = "CREATE TABLE bare_tasks (id INTEGER PRIMARY KEY, labeler TEXT, content TEXT NOT NULL, answer TEXT)"
    rows = [(number, content) for number in range(tasks)]
    if ON_POSTGRESQL:
        with psycopg.connect(DATABASE) as connection, connection.cursor() as cursor:
            cursor.execute("DROP TABLE IF EXISTS bare_tasks")
            cursor.execute(made)
            cursor.execute("CREATE INDEX bare_free ON bare_tasks (id) WHERE labeler IS NULL")
            cursor.executemany("INSERT INTO bare_tasks (id, content) VALUES (%s, %s)", rows)
        return
    connection = sqlite3.connect(DATABASE)
    connection.executescript(f"PRAGMA journal_mode=WAL; DROP TABLE IF EXISTS bare_tasks; {made};")
    connection.execute("CREATE INDEX bare_free ON bare_tasks (id) WHERE labeler IS NULL")
    connection.executemany("INSERT INTO bare_tasks (id, content) VALUES (?, ?)", rows)
    connection.commit()
    connection.close()


class _PostgreSQL:
    """A few connections, each used by one request at a time."""

    async def open(self) -> None:
        self.free: asyncio.Queue[psycopg.AsyncConnection] = asyncio.Queue()
        for _ in range(CONNECTIONS):
            self.free.put_nowait(await psycopg.AsyncConnection.connect(DATABASE, autocommit=True))

    async def one(self, statement: str, values: tuple) -> tuple | None:
        connection = await self.free.get()
        try:
            return await (await connection.execute(statement, values)).fetchone()
        finally:
            self.free.put_nowait(connection)


class _SQLite:
    """One connection, as SQLite has one writer; synchronous as the product's."""

    async def open(self) -> None:
        self.connection = sqlite3.connect(DATABASE, isolation_level=None)
        self.connection.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL")

    async def one(self, statement: str, values: tuple) -> tuple | None:
        return self.connection.execute(statement, values).fetchone()


database = _PostgreSQL() if ON_POSTGRESQL else _SQLite()
sign, skip = ("%s", "FOR UPDATE SKIP LOCKED") if ON_POSTGRESQL else ("?", "")
take, store = TAKE.format(sign, skip), STORE.format(sign)


@asynccontextmanager
async def _open(app: FastAPI) -> AsyncIterator[None]:
    await database.open()
    yield


app = FastAPI(lifespan=_open)


@app.post("/api/v1/assignments/next")
async def next_assignment(request: Request) -> Response:
    """Give the first task that nobody has."""
    row = await database.one(take, (request.headers["authorization"],))
    if row is None:
        return Response(status_code=204)
    return Response(
        f'{{"id": "{row[0]}", "fence": 1, "kind": "comparison", {row[1][1:]}', media_type="application/json"
    )


@app.post("/api/v1/assignments/{id}/submit")
async def submit(request: Request, id: int, ranking: Ranking) -> dict[str, int | None]:
    """Store an answer."""
    row = await database.one(store, (ranking.model_dump_json(), id, request.headers["authorization"]))
    return {"id": row[0] if row else None}


@app.get("/healthz")
async def healthz() -> dict[str, str]:
    """Answer once the server listens."""
    return {"status": "ok"}
