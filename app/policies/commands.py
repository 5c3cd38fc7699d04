"""`plumbline policy`."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from pydantic import ValidationError

from app.database import reading, transaction
from app.errors import BadInput
from app.kit.terminal import AsJson, show
from app.policies import queries, rules
from app.policies.schemas import PolicyIn
from app.policies.tables import PolicyKind
from app.serving import rules as serving

policies = typer.Typer(
    no_args_is_help=True,
    help="Policies: named sources of completions; endpoints that suggest and answer.\n\n"
    "To add a server that speaks OpenAI's chat protocol:\n\n"
    "plumbline policy add live --url http://127.0.0.1:8001/v1 --model mine",
)
Name = Annotated[str, typer.Argument(help="The policy's name.")]


@policies.command("list")
def list_(as_json: AsJson = False) -> None:
    """List policies, the newest first."""
    with reading() as session:
        found = queries.policies(session)
    rows = [
        {
            "name": one.name,
            "id": one.public_id,
            "kind": one.kind.value,
            "address": one.endpoint_url or one.path,
            "last_error": one.last_error,
        }
        for one in found
    ]
    show(rows, as_json, "No policy yet; import completions, train one, or add an endpoint with `policy add`.")


@policies.command("add")
def add(
    name: Name,
    url: Annotated[str, typer.Option(help="Base address of an OpenAI-compatible server; without: an imported policy.")]
    = "",
    model: Annotated[str, typer.Option(help="The model's name there.")] = "",
    key_variable: Annotated[
        str, typer.Option(help="Environment variable with the key, one of PLUMBLINE_ENDPOINT_KEYS.")
    ] = "",
    description: Annotated[str, typer.Option(help="A sentence about it.")] = "",
) -> None:  # fmt: skip
    """Make an endpoint or an imported policy and print its id."""
    with _readable():
        new = PolicyIn(
            name=name,
            kind=PolicyKind.ENDPOINT if url else PolicyKind.IMPORTED,
            description=description,
            endpoint_url=url or None,
            endpoint_model=model,
            key_variable=key_variable,
        )
    with transaction() as session:
        made = rules.create(session, new, None)
    typer.echo(made.public_id)


@contextmanager
def _readable() -> Iterator[None]:
    """Say in one line what of a policy is not valid."""
    try:
        yield
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise BadInput(f"{where + ': ' if where else ''}{first['msg'].removeprefix('Value error, ')}") from error


@policies.command("change")
def change(
    name: Name,
    url: Annotated[str | None, typer.Option(help="Another base address of the endpoint.")] = None,
    model: Annotated[str | None, typer.Option(help="Another name of the model there.")] = None,
    key_variable: Annotated[str | None, typer.Option(help="Another variable with the key; empty: no key.")] = None,
    description: Annotated[str | None, typer.Option(help="Another sentence about it.")] = None,
) -> None:
    """Change an endpoint or an imported policy; what is not given stays, and so does its name."""
    given = {"endpoint_url": url, "endpoint_model": model, "key_variable": key_variable, "description": description}
    with transaction() as session:
        found = rules.named(session, name)
        with _readable():
            new = rules.with_changes(found, {key: value for key, value in given.items() if value is not None})
        rules.change(session, found, new, None)
    typer.echo(f"Changed {name}.")


@policies.command("delete")
def delete(name: Name) -> None:
    """Delete an endpoint or an imported policy that has written nothing."""
    with transaction() as session:
        rules.delete(session, rules.named(session, name), None)
    typer.echo(f"Deleted {name}.")


@policies.command("try")
def try_(name: Name, question: Annotated[str, typer.Argument(help="What to ask.")] = "Hello!") -> None:
    """Ask a policy something and print its answer; the error says why it gives none."""
    with reading() as session:
        found = rules.named(session, name)
    written, _seconds = serving.trial(found, question)
    typer.echo(written.text)
