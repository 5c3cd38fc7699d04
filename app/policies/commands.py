"""`plumbline policy`."""

from typing import Annotated

import typer
from pydantic import ValidationError

from app.database import reading, transaction
from app.errors import BadInput
from app.operation.terminal import AsJson, show
from app.policies import queries, rules, serving
from app.policies.schemas import PolicyIn
from app.policies.tables import PolicyKind

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
    try:
        new = PolicyIn(
            name=name,
            kind=PolicyKind.ENDPOINT if url else PolicyKind.IMPORTED,
            description=description,
            endpoint_url=url or None,
            endpoint_model=model,
            key_variable=key_variable,
        )
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise BadInput(f"{where + ': ' if where else ''}{first['msg'].removeprefix('Value error, ')}") from error
    with transaction() as session:
        made = rules.create(session, new, None)
    typer.echo(made.public_id)


@policies.command("try")
def try_(name: Name, question: Annotated[str, typer.Argument(help="What to ask.")] = "Hello!") -> None:
    """Ask a policy something and print its answer; the error says why it gives none."""
    with reading() as session:
        found = rules.named(session, name)
    written, _seconds = serving.trial(found, question)
    typer.echo(written.text)
