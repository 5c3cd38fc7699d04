"""Choosing the K completions of an item: distinct texts from the planned policies, determined by the seed alone."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence

from app.completions.tables import Completion
from app.kit.text import is_blank, normal_form
from app.rounds.schemas import PolicyShare


def keyed(seed: int, *parts: str) -> bytes:
    """Return a sort key that depends on the seed and the parts, not on database ids."""
    return hashlib.blake2b("\x1f".join(parts).encode(), key=f"round {seed}".encode(), digest_size=16).digest()


def choose(
    candidates: Mapping[str, Sequence[Completion]], shares: Sequence[PolicyShare], k: int, seed: int, prompt_sha256: str
) -> list[Completion]:
    """Choose at most K completions with distinct texts, in an order that does not reveal their policies.

    First, each share with a count takes up to that many; then those without one fill the rest, in turn. Which policy
    goes first differs from prompt to prompt, so that no one policy is credited with every text that two wrote. A policy
    gives up such a text if it can take another and the other policy cannot (augmenting paths).
    """

    def order(completion: Completion) -> bytes:
        return keyed(seed, prompt_sha256, completion.text_sha256)

    turns = sorted(shares, key=lambda share: keyed(seed, prompt_sha256, share.policy))
    texts: dict[str, dict[str, Completion]] = {}
    for share in turns:
        texts[share.policy] = {}
        for completion in sorted(candidates.get(share.policy, ()), key=order):
            if not is_blank(completion.text):
                texts[share.policy].setdefault(normal_form(completion.text), completion)
    holder: dict[str, str] = {}  # text -> the policy credited with it

    def take(policy: str, seen: set[str]) -> bool:
        for text in texts[policy]:
            if text in seen or holder.get(text) == policy:
                continue
            seen.add(text)
            if text not in holder or take(holder[text], seen):
                holder[text] = policy
                return True
        return False

    for share in turns:
        for _ in range(min(share.count or 0, k - len(holder))):
            take(share.policy, set())
    open_ended = [share.policy for share in turns if share.count is None]
    while len(holder) < k and open_ended:
        open_ended = [policy for policy in open_ended if len(holder) < k and take(policy, set())]
    return sorted((texts[policy][text] for text, policy in holder.items()), key=order)


def by_prompt(completions: Iterable[Completion], names: Mapping[int, str]) -> dict[int, dict[str, list[Completion]]]:
    """Group completions by prompt id and policy name."""
    found: dict[int, dict[str, list[Completion]]] = {}
    for completion in completions:
        found.setdefault(completion.prompt_id, {}).setdefault(names[completion.policy_id], []).append(completion)
    return found
