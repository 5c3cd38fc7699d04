"""Try a network folder: what works, in which form it is computed, or why it cannot be trained.

    python -m training.try_network FOLDER [--json]

Exit codes: 0 if it can be used; 1 if not, with one sentence that says why. Of a network of more than a gigabyte only
the first layers are read, and of the others the names and shapes of their tensors.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from training.contract.events import Finding, Verdict

LARGE_BYTES, WHOLE_BYTES = 1_000_000_000, 4_000_000_000  # above: tried in part; up to the other: whole if need be


def main(arguments: list[str] | None = None) -> int:
    """Run from the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m training.try_network", description="Try a network before it is trained or used."
    )
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="a network's folder, as save_pretrained writes it")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    began = time.monotonic()
    try:
        result = tried(options.folder)
    except ValueError as error:
        if options.json:
            print(json.dumps({"folder": str(options.folder), "refused": str(error)}))
        else:
            print(f"try_network: {error}", file=sys.stderr)
        return 1
    result["seconds"] = round(time.monotonic() - began, 1)
    print(json.dumps(result) if options.json else _table(result))
    return 0


def tried(folder: Path) -> dict[str, Any]:
    """Try the network of a folder and return the findings as JSON; raises ValueError if it cannot be used."""
    from training.contract.network_files import check_files

    architectures = str(check_files(folder).get("architectures"))  # before torch is imported, which takes seconds
    from training.networks.first_layers import load_first_layers, size_bytes
    from training.networks.trial import findings, findings_of_scores, further_findings
    from training.reward.model import load_reward_model
    from training.text.policy import load_policy
    from training.text.tokenizer import load_tokenizer

    rows = None
    if "ForSequenceClassification" in architectures:
        model = load_reward_model(folder)[0]
        found = findings_of_scores(model)
    elif size_bytes(folder) <= LARGE_BYTES:
        model, tokenizer = load_policy(folder)
        found = [*findings(model, tokenizer), *further_findings(model)]
    else:
        try:
            tokenizer = load_tokenizer(folder)
            model, layers, whole, rows = load_first_layers(folder)
        except ValueError:
            if size_bytes(folder) > WHOLE_BYTES:
                raise
            model, tokenizer = load_policy(folder)  # perhaps of a kind that cannot be cut
        found = [*findings(model, tokenizer, rows), *further_findings(model)]
    count = sum(weights.numel() for weights in model.parameters())
    verdict, said = Verdict.RIGHT, f"All of its {count:,} weights are there and finite."
    if new := getattr(model, "new_rows", 0):
        said += f" {new} of its tokenizer's added tokens had no embedding row, so they begin with one of zeros."
    if unused := getattr(model, "unused_tensors", None):
        verdict = Verdict.NOTE
        said += f" No part of it uses {unused[0]}" + (f" and {len(unused) - 1} more." if len(unused) > 1 else ".")
    if rows:
        verdict, said = Verdict.NOTE, f"It is large, so the first {layers} of its {whole} layers were tried. "
        said += "Of the others the names and shapes of their tensors were read."
    found.insert(0, Finding(check="weights", verdict=verdict, said=said))
    return {"folder": str(folder), "refused": None, "findings": [one.model_dump(mode="json") for one in found]}


def _table(result: dict[str, Any]) -> str:
    lines = [f"{one['check']:22} {one['verdict']:8} {one['said']}" for one in result["findings"]]
    return "\n".join([*lines, f"{result['folder']}: tried in {result['seconds']} s"])


if __name__ == "__main__":
    sys.exit(main())
