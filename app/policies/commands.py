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
    help="Policies: named sources of completions; endpoints and trained policies can also suggest messages.\n\n"
    "To add a server with an OpenAI-compatible chat API:\n\n"
    "plumbline policy add live --url http://127.0.0.1:8001/v1 --model mine",
)
Name = Annotated[str, typer.Argument(help="The policy's name.")]


@policies.command("list")
def list_(as_json: AsJson = False) -> None:
    """List policies, newest first."""
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
    show(rows, as_json, "No policies yet; import completions, train a policy, or add an endpoint with `policy add`.")


@policies.command("add")
def add(
    name: Name,
    url: Annotated[str, typer.Option(help="Base address of an OpenAI-compatible server. Omit for an imported policy.")]
    = "",
    model: Annotated[str, typer.Option(help="Name of the model on the server.")] = "",
    key_variable: Annotated[
        str, typer.Option(help="Environment variable with the key; must be listed in PLUMBLINE_ENDPOINT_KEYS.")
    ] = "",
    description: Annotated[str, typer.Option(help="Short description.")] = "",
) -> None:  # fmt: skip
    """Create an endpoint or an imported policy and print its id."""
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
    """Turn a ValidationError into a one-line BadInput."""
    try:
        yield
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise BadInput(f"{where + ': ' if where else ''}{first['msg'].removeprefix('Value error, ')}") from error


@policies.command("change")
def change(
    name: Name,
    url: Annotated[str | None, typer.Option(help="New base address of the endpoint.")] = None,
    model: Annotated[str | None, typer.Option(help="New name of the model on the server.")] = None,
    key_variable: Annotated[str | None, typer.Option(help="New variable with the key; empty for no key.")] = None,
    description: Annotated[str | None, typer.Option(help="New description.")] = None,
) -> None:
    """Change an endpoint or an imported policy. Omitted options stay unchanged; the name cannot change."""
    given = {"endpoint_url": url, "endpoint_model": model, "key_variable": key_variable, "description": description}
    with transaction() as session:
        found = rules.named(session, name)
        with _readable():
            new = rules.with_changes(found, {key: value for key, value in given.items() if value is not None})
        rules.change(session, found, new, None)
    typer.echo(f"Changed {name}.")


@policies.command("delete")
def delete(name: Name) -> None:
    """Delete an endpoint or an imported policy that has no completions or suggestions."""
    with transaction() as session:
        rules.delete(session, rules.named(session, name), None)
    typer.echo(f"Deleted {name}.")


@policies.command("try")
def try_(name: Name, question: Annotated[str, typer.Argument(help="What to ask.")] = "Hello!") -> None:
    """Ask a policy a question and print its answer, or an error that says why there is none."""
    with reading() as session:
        found = rules.named(session, name)
    written, _seconds = serving.trial(found, question)
    typer.echo(written.text)
