"""What our clients of OpenAI's chat protocol share: reading a whole reply in time, and when to send a request again."""

import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

MAX_ANSWER_BYTES = 64_000_000


def may_pass(status: int) -> bool:
    """Return whether a failure with this HTTP status may be over when the request is sent again."""
    return status in (408, 409, 425, 429) or status >= 500


def whole_reply(
    client: httpx.Client,
    address: str,
    body: Mapping[str, Any],
    until: float,
    *,
    headers: Mapping[str, str] | None = None,
    at_most: int = MAX_ANSWER_BYTES,
) -> tuple[httpx.Response, bytes]:
    """Post `body` as JSON and return the reply with all of its content.

    Raise httpx.ReadTimeout if it is still arriving at `until` (time.monotonic()), and httpx.DecodingError if it has
    more than `at_most` bytes.
    """
    content = bytearray()
    with client.stream("POST", address, json=body, headers=headers) as reply:
        for chunk in reply.iter_bytes():
            content += chunk
            if len(content) > at_most:
                raise httpx.DecodingError(f"the answer is longer than {at_most} bytes")
            if time.monotonic() > until:
                raise httpx.ReadTimeout("its answer does not end")
    return reply, bytes(content)


def asked_pause(reply: httpx.Response) -> float:
    """Return the seconds to wait by Retry-After, which is a number or a date; 0 if the server does not say."""
    told = reply.headers.get("Retry-After", "").strip()
    with suppress(ValueError):
        if told.isdecimal():
            return float(told)
        when = parsedate_to_datetime(told)
        return max(0.0, (when.replace(tzinfo=when.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
    return 0.0
