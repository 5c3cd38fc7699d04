"""Texts from any policy that can write: from an endpoint at once, from a trained one once a sampler has loaded it.

Both sides coordinate through the ServedPolicy row: the client sets `wanted_at`, `plumbline sampler` its lease and
address.
"""

import hmac
import time
from collections.abc import Callable, Mapping, Sequence

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from app.config import settings
from app.database import changed_rows, insert_into, reading, transaction, utc_now
from app.errors import BadInput
from app.kit.i18n import gettext as _
from app.policies.tables import Policy, PolicyKind, ServedPolicy
from app.serving.endpoint import Endpoint, NoAnswer, ServedCompletion, chat

LEASE_SECONDS = 30
RENEW_SECONDS = 8
IDLE_SECONDS = 15 * 60  # how long an unused network stays in memory
RESIDENT = 2  # networks in memory at once; the most recently requested stay
LOAD_SECONDS = 60
POLL_SECONDS = 0.25


def key() -> str:
    """Return the key that requests to our own samplers carry, so that other users of the machine cannot use them."""
    return hmac.digest(settings().key, b"plumbline sampler", "sha256").hex()


# --- The client ---


def write(
    policy: Policy,
    messages: Sequence[Mapping[str, str]],
    *,
    n: int = 1,
    temperature: float = 1.0,
    max_tokens: int = 1024,
    wait_seconds: float = LOAD_SECONDS,
    alive: Callable[[], object] = lambda: None,
) -> list[ServedCompletion]:
    """Return what the policy writes next in a conversation of {role, text}: 1 to `n` texts; raises NoAnswer.

    Waits for a network that is not in memory, calling `alive` meanwhile and holding no database connection. An error
    is shown on the policy's page until the policy answers again.
    """
    try:
        endpoint = reach(policy, wait_seconds, alive)
        written = chat(endpoint, messages, n=n, temperature=temperature, max_tokens=max_tokens)
    except NoAnswer as error:
        _note(policy, error.message)
        raise
    if policy.last_error:
        _note(policy, "")
    return written


def trial(policy: Policy, question: str) -> tuple[ServedCompletion, float]:
    """Return the policy's answer to a question, and how many seconds it took."""
    began = time.monotonic()
    written = write(policy, [{"role": "user", "text": question}], max_tokens=256)[0]
    return written, time.monotonic() - began


def _note(policy: Policy, error: str) -> None:
    with transaction() as session:
        session.execute(update(Policy).where(Policy.id == policy.id).values(last_error=error))


def reach(policy: Policy, wait_seconds: float, alive: Callable[[], object] = lambda: None) -> Endpoint:
    """Return where the policy answers; raises NoAnswer if its network is not loaded in time."""
    if policy.kind is PolicyKind.ENDPOINT:
        return Endpoint(policy.endpoint_url or "", policy.endpoint_model, policy.key_variable)
    if not policy.writes:
        raise BadInput(_("“%(name)s” cannot be asked.") % {"name": policy.name}, field="policy")
    with transaction() as session:
        want(session, policy)
    until = time.monotonic() + wait_seconds
    while True:
        with reading() as session:
            of_policy = select(ServedPolicy, ServedPolicy.lease_until > utc_now())
            served, held = session.execute(of_policy.where(ServedPolicy.policy_id == policy.id)).one()
        if held and served.address:
            return Endpoint(served.address, policy.public_id, key=key())
        if served.wanted_at is None:
            raise NoAnswer(
                _("Model “%(name)s” could not be loaded: %(error)s") % {"name": policy.name, "error": served.error}
            )
        if time.monotonic() > until:
            raise NoAnswer(
                _("Model “%(name)s” is still loading; try again.") % {"name": policy.name}
                if held
                else _(
                    "No sampler is serving “%(name)s”; check that `plumbline run` or `plumbline sampler` is running."
                )
                % {"name": policy.name}
            )
        alive()
        time.sleep(POLL_SECONDS)


def want(session: Session, policy: Policy) -> None:
    """Ask the sampler to load the policy's network, or to keep it."""
    asked = insert_into(session, ServedPolicy).values(
        policy_id=policy.id, wanted_at=utc_now(), owner="", address="", error=""
    )
    session.execute(asked.on_conflict_do_update(index_elements=["policy_id"], set_={"wanted_at": utc_now()}))


# --- The sampler ---


def wanted(session: Session) -> list[ServedPolicy]:
    """Return what should be in memory: the RESIDENT policies requested last, if within IDLE_SECONDS."""
    query = select(ServedPolicy).where(ServedPolicy.wanted_at > utc_now(-IDLE_SECONDS))
    return list(session.scalars(query.order_by(ServedPolicy.wanted_at.desc()).limit(RESIDENT)))


def hold(session: Session, policy_id: int, owner: str, address: str) -> bool:
    """Take or renew the lease on a requested policy and publish its address; False if another sampler holds it."""
    free = or_(ServedPolicy.owner == owner, ServedPolicy.lease_until.is_(None), ServedPolicy.lease_until < utc_now())
    held = update(ServedPolicy).where(ServedPolicy.policy_id == policy_id, free)
    values = {"owner": owner, "lease_until": utc_now(LEASE_SECONDS), "address": address, "error": ""}
    return bool(changed_rows(session, held.values(values)))


def let_go(session: Session, policy_id: int, owner: str, error: str = "") -> None:
    """End the lease; with an error, the policy is not loaded until it is requested again."""
    values = {"lease_until": None, "address": "", "error": error} | ({"wanted_at": None} if error else {})
    mine = update(ServedPolicy).where(ServedPolicy.policy_id == policy_id, ServedPolicy.owner == owner)
    session.execute(mine.values(values))
