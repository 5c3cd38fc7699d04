"""Command line of all verbs: `python -m training.<verb> CONFIG [--run-folder DIR] [--resume] [--set key=value]`.

Exit codes: 0 finished, 1 failed, 2 unusable config or run folder, 143 stopped by SIGTERM (with a state to resume from,
if the verb keeps one).
"""

import argparse
import importlib
import os
import signal
import sys
import threading
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from training.contract.configs import Config, EvaluateConfig, free_keys
from training.contract.events import Failed, Warned
from training.contract.recipes import CONFIGS, RECIPES, load_config, make_config
from training.run import parallel
from training.run.inputs import FILE as INPUTS
from training.run.inputs import check_inputs, input_paths
from training.run.run_folder import RunFolder, Stopped


def main(verb: str, arguments: list[str] | None = None) -> None:
    """Run one verb from the command line and exit with its code."""
    sys.exit(run_verb(verb, arguments))


def run_verb(verb: str, arguments: list[str] | None = None) -> int:
    """Run one verb and return its exit code."""
    options = _parser(verb).parse_args(arguments)
    if options.supervised:
        threading.Thread(target=_end_with_supervisor, daemon=True).start()
    try:
        config = _absolute(load_config(verb, options.config, options.set))
        if not config.many_processes and parallel.launched() > 1:
            raise ValueError(f"{parallel.launched()} processes were launched, and {verb} runs in one")
        parallel.join()
        run_folder = RunFolder(options.run_folder or _new_folder(config))
    except (ValueError, OSError) as error:
        print(f"{verb}: {error}", file=sys.stderr)
        return 2
    with run_folder:
        finished = run_folder.is_finished()
        try:
            if run_folder.is_owned:
                _settle(run_folder, config, options.resume, finished)
        except (ValueError, OSError) as error:
            print(f"{verb}: {error}", file=sys.stderr)
            return 2
        if run_folder.is_owned:
            print(f"{verb}: run folder {run_folder.path}", file=sys.stderr)
        if finished:
            return 0  # resumed after it finished: nothing is left to do
        return _run(verb, config, run_folder)


def _run(verb: str, config: Config, run_folder: RunFolder) -> int:
    module = importlib.import_module(f"training.{verb}")

    def stop(*_: object) -> None:
        if run_folder.stop_requested or not getattr(module, "RESUMABLE", False):
            os._exit(143)  # nothing to save, or a second signal
        run_folder.stop_requested = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    try:
        module.run(config, run_folder)
        run_folder.drop_states()  # finished: it is never resumed
    except Stopped:
        return 143
    except Exception as error:
        expected = isinstance(error, ValueError)
        if not expected:
            traceback.print_exc()
        message = str(error) if expected else f"{type(error).__name__}: {error}"
        if expected or parallel.process_count() == 1:  # otherwise another may have died: resumable
            run_folder.report(Failed(message=message))
        print(f"{verb}: {message}", file=sys.stderr)
        return 1
    return 0


def _parser(verb: str) -> argparse.ArgumentParser:
    names = [name for name, recipe in RECIPES.items() if recipe.verb == verb]
    keys = "\n".join(
        f"  {key:24} {field.description or ''}" for key, field in CONFIGS[verb].model_fields.items() if key != "recipe"
    )
    parser = argparse.ArgumentParser(
        prog=f"python -m training.{verb}",
        description=CONFIGS[verb].__doc__,
        epilog=f"recipes: {', '.join(names) or 'none'}\n\nkeys:\n{keys}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "config", metavar="CONFIG", help="a recipe's name, or a JSON file as a run folder's config.json"
    )
    parser.add_argument("--run-folder", type=Path, metavar="DIR", help="default: a new folder under runs/")
    parser.add_argument("--resume", action="store_true", help="go on in a run folder that was stopped")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="put a value over the config's")
    parser.add_argument("--supervised", action="store_true", help="end at once when standard input closes")
    return parser


def _absolute(config: Config) -> Config:
    """Make every path of the config absolute, so that its run can be resumed from another folder."""
    absolute: dict[str, object] = {key: value.absolute() for key, value in config if isinstance(value, Path)}
    if isinstance(config, EvaluateConfig):
        absolute["policies"] = {name: path.absolute() for name, path in config.policies.items()}
    return config.model_copy(update=absolute)


def _new_folder(config: Config) -> Path:
    return Path("runs") / f"{config.recipe or config.verb}-{datetime.now(UTC):%Y%m%d-%H%M%S}"


def _settle(run_folder: RunFolder, config: Config, resume: bool, finished: bool) -> None:
    """Write the folder's config.json and inputs.json; if the run is resumed, check that they still hold.

    Only what does not affect numbers may change: keys marked so, and the path of an input. Each change is reported.
    """
    known = run_folder.read_json("config.json")
    if known is not None and not resume:
        raise ValueError(
            f"{run_folder.path}: already holds a run; add --resume to continue it, or choose another folder"
        )
    changed = _changed(run_folder, config, known) if known is not None else []
    if finished:
        return
    for message in changed:
        run_folder.report(Warned(message=message))
    if config.keeps_inputs:
        check_inputs(config, run_folder)
    if known is None or make_config(config.verb, known) != config:
        run_folder.write_text("config.json", config.model_dump_json(indent=2) + "\n")


def _changed(run_folder: RunFolder, config: Config, known: dict[str, Any]) -> list[str]:
    """Return a sentence for each key that affects no numbers and differs from `known`, the run's original config.

    Raise ValueError for any other changed key, except the path of an input, which check_inputs judges.
    """
    try:
        begun = make_config(config.verb, known)
    except ValueError as error:
        raise ValueError(f"{run_folder.path / 'config.json'}: {error}; start a new run in another folder") from None
    free, hashed = free_keys(type(config)), set(run_folder.read_json(INPUTS) or {})
    paths, paths_before = input_paths(config), input_paths(begun)
    changed = []
    for key, field in type(config).model_fields.items():
        now, before = getattr(config, key), getattr(begun, key)
        if now == before:
            continue
        if key in free:
            changed.append(f"{key}: {now} now, {before} before; it changes no numbers{_but(config, key)}")
            continue
        of_key = {name for name in paths.keys() | paths_before.keys() if name.partition(".")[0] == key}
        if not of_key or not of_key <= paths.keys() & paths_before.keys() & hashed:
            raise ValueError(
                f"{key}: {now} here, but the run began with {before}, and this changes its numbers "
                f"({field.description}); resume it with its own {run_folder.path / 'config.json'}, or start a new run "
                "in another folder"
            )
    return changed


def _but(config: Config, key: str) -> str:
    """Name the random draws that change with a key that otherwise affects no numbers; "" if none do."""
    if key in ("micro_batch_tokens", "sharded") and getattr(config, "dropout", False):
        return ", but for which activations dropout draws"
    if key == "rows_at_once" and getattr(config, "sampler", "own") == "transformers":
        return ", but for what generate draws"
    return ""


def _end_with_supervisor() -> None:
    """Wait until the pipe from the supervisor closes, then exit at once, so that a run never has two writers."""
    while os.read(0, 4096):
        pass
    os._exit(1)
