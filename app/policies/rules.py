"""Rules for policies: named sources of completions, whose names labelers never see."""

from collections.abc import Mapping

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.accounts import rules as accounts
from app.accounts.tables import Account
from app.config import settings
from app.database import insert_into
from app.errors import BadInput, Conflict, NotFound
from app.kit.i18n import gettext as _
from app.kit.places import check_address
from app.kit.words import word
from app.policies import queries
from app.policies.schemas import PolicyIn
from app.policies.tables import Policy, PolicyKind
from training.contract.records import Pool

# Held-out labelers have their own policy: what they write must not reach other labelers, not even as a completion.
PEOPLE = {Pool.TRAIN: "people", Pool.HELD_OUT: "held-out people"}


def get_or_create(
    session: Session, name: str, kind: PolicyKind, *, description: str = "", path: str | None = None
) -> Policy:
    """Return the policy with this name, creating it if missing; raises BadInput if it is of another kind."""
    name = name.strip()
    if not name or len(name) > 120:
        raise BadInput(
            _("A policy's name must have 1 to 120 characters, not %(n)d.") % {"n": len(name)}, field="policy"
        )
    if kind is not PolicyKind.PEOPLE and name in PEOPLE.values():
        raise BadInput(
            _("“%(name)s” is reserved for what labelers write here; choose another name.") % {"name": name},
            field="policy",
        )
    made = insert_into(session, Policy).values(name=name, kind=kind, description=description, path=path)
    session.execute(made.on_conflict_do_nothing(index_elements=["name"]))
    found = queries.by_name(session, name)
    assert found is not None
    if found.kind is not kind:
        raise BadInput(
            _("“%(name)s” is already the name of a policy of kind %(kind)s; choose another name.")
            % {"name": name, "kind": word(found.kind)},
            field="policy",
        )
    return found


def people(session: Session, pool: Pool = Pool.TRAIN) -> Policy:
    """Return the policy for completions written by labelers of this pool."""
    return get_or_create(session, PEOPLE[pool], PolicyKind.PEOPLE)


def create(session: Session, new: PolicyIn, by: Account | None) -> Policy:
    """Create an imported policy or an endpoint; raises Conflict if the name is taken."""
    name = new.name.strip()
    if queries.by_name(session, name):
        raise Conflict(
            _("A policy named “%(name)s” already exists; choose another name.") % {"name": name}, field="name"
        )
    made = get_or_create(session, name, new.kind)
    _set(made, new)
    session.flush()
    accounts.record(session, by, "policy.create", subject=made.public_id, name=name, kind=new.kind)
    return made


def change(session: Session, policy: Policy, new: PolicyIn, by: Account | None) -> None:
    """Change an imported policy's or endpoint's description, address, model or key variable; name and kind stay."""
    _set(policy, new)
    policy.last_error = ""  # belongs to the earlier settings
    session.flush()
    accounts.record(session, by, "policy.change", subject=policy.public_id, name=policy.name)


def with_changes(policy: Policy, changes: Mapping[str, object]) -> PolicyIn:
    """Return the policy with fields changed; raises ValidationError, or BadInput if neither imported nor endpoint."""
    _check_made_by_hand(policy)
    fields = ("name", "kind", "description", "endpoint_url", "endpoint_model", "key_variable")
    return PolicyIn(**{name: getattr(policy, name) for name in fields} | dict(changes))


def delete(session: Session, policy: Policy, by: Account | None) -> None:
    """Delete a policy without completions or suggestions; raises Conflict if it has any, since they refer to it."""
    _check_made_by_hand(policy)
    name = policy.name
    accounts.record(session, by, "policy.delete", subject=policy.public_id, name=name)
    try:
        session.delete(policy)
        session.flush()
    except IntegrityError as error:
        raise Conflict(
            _("“%(name)s” has written completions or suggestions, which refer to it, so it cannot be deleted.")
            % {"name": name}
        ) from error


def _check_made_by_hand(policy: Policy) -> None:
    if policy.kind not in (PolicyKind.IMPORTED, PolicyKind.ENDPOINT):
        raise BadInput(
            _("“%(name)s” was trained here or is what labelers write; only imported policies and endpoints can be "
              "changed or deleted.") % {"name": policy.name},
            field="kind",
        )  # fmt: skip


def _set(policy: Policy, new: PolicyIn) -> None:
    if new.key_variable and new.key_variable not in settings().endpoint_key_names:
        raise BadInput(
            _("“%(name)s” is not one of the variables that may hold a key (%(known)s); add it to %(where)s.")
            % {
                "name": new.key_variable,
                "known": ", ".join(settings().endpoint_key_names) or "–",
                "where": "PLUMBLINE_ENDPOINT_KEYS",
            },
            field="key_variable",
        )
    if new.endpoint_url:
        check_address(new.endpoint_url, "endpoint_url")
    policy.description = new.description
    policy.endpoint_url = new.endpoint_url.rstrip("/") if new.endpoint_url else None
    policy.endpoint_model, policy.key_variable = new.endpoint_model.strip(), new.key_variable


def policy(session: Session, public_id: str) -> Policy:
    """Return the policy with this public id, or raise NotFound."""
    found = queries.policy(session, public_id)
    if found is None:
        raise NotFound(_("Policy not found."))
    return found


def named(session: Session, name: str) -> Policy:
    """Return the policy with this name; raises BadInput that lists existing policies."""
    found = queries.by_name(session, name)
    if found is None:
        known = ", ".join(sorted(one.name for one in queries.policies(session)[:30]))
        raise BadInput(
            _("There is no policy “%(name)s”. Existing policies: %(known)s.") % {"name": name, "known": known or "–"},
            field="policy",
        )
    return found


def writer(session: Session, name: str = "") -> Policy:
    """Return the policy with this name, or the newest that can be asked; raises BadInput if it cannot be asked."""
    if name:
        found = named(session, name)
        if not found.writes:
            raise BadInput(
                _("“%(name)s” is %(kind)s and cannot be asked; choose an endpoint or a policy trained here.")
                % {"name": name, "kind": word(found.kind)},
                field="policy",
            )
        return found
    newest = next(iter(queries.writers(session)), None)
    if newest is None:
        raise BadInput(
            _("No policy can be asked yet: train a model and create a policy from its checkpoint, or add an endpoint."),
            field="policy",
        )
    return newest
