"""Model checks in a separate process, because this one never loads torch."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from app.config import ROOT
from app.kit.children import environment
from app.kit.i18n import gettext as _

SECONDS = 600  # per check; an 8B model takes half a minute on an idle machine
LAST_WORDS = 300  # characters of stderr kept from a check that did not finish


def tried(folder: Path) -> dict[str, Any] | None:
    """Return what `python -m training.try_network` reports on a folder; None if torch or transformers is missing here.

    `refused` is the sentence that says why the model cannot be used, or None. `findings` are defined by
    training.contract.events.
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
    """Return the result of a check that did not finish; it does not refuse the model."""
    said = _("The check did not finish: %(why)s") % {"why": why}
    return {"refused": None, "findings": [{"check": "trial", "verdict": "note", "said": said}]}
