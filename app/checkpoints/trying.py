"""Trying a network in a process of its own, since this one never loads torch."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from app.config import ROOT
from app.kit.children import environment
from app.kit.i18n import gettext as _

SECONDS = 600  # of one trial, that of an 8B network takes half a minute on a calm machine
LAST_WORDS = 300  # characters of a trial that broke off


def tried(folder: Path) -> dict[str, Any] | None:
    """What `python -m training.try_network` says of a folder; None where this machine has nothing to try it with.

    `refused` is the sentence that says why it cannot be used, or null; `findings` are of training.contract.events.
    """
    command = [sys.executable, "-m", "training.try_network", str(folder), "--json"]
    try:
        ended = subprocess.run(
            command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=SECONDS, check=False
        )
        said = json.loads(ended.stdout.splitlines()[-1])
        return {"refused": said.get("refused"), "findings": said.get("findings", [])}
    except subprocess.TimeoutExpired:
        why = _("it took longer than %(count)s seconds") % {"count": SECONDS}
    except (IndexError, ValueError):
        if "No module named 'torch'" in ended.stderr or "No module named 'transformers'" in ended.stderr:
            return None
        why = " ".join(ended.stderr.split())[-LAST_WORDS:]
    return broke_off(why)


def broke_off(why: str) -> dict[str, Any]:
    """A trial that found nothing, which does not say that the network cannot be used."""
    said = _("The check did not finish: %(why)s") % {"why": why}
    return {"refused": None, "findings": [{"check": "trial", "verdict": "note", "said": said}]}
