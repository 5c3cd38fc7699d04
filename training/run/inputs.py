"""A run's inputs: hashes of its files, written at its start and compared when it is resumed.

A moved folder or file is accepted if its content is the same; a changed one is refused. This module needs no torch.
"""

import hashlib
from pathlib import Path
from typing import Any

from training.contract.configs import Config
from training.contract.events import Warned
from training.contract.records import Manifest
from training.run.run_folder import RunFolder

FILE = "inputs.json"  # in the run folder: for each key, the path and the hash of each file there
_OUTPUTS = ("cache",)  # paths that a run writes to


def check_inputs(config: Config, run_folder: RunFolder) -> None:
    """Record the hashes of the config's paths; if the run is resumed, compare them with the recorded ones.

    Raise ValueError if a file changed or differs from its snapshot's manifest. A missing path is left to the verb at
    the start, and refused here when the run is resumed.
    """
    known = run_folder.read_json(FILE) or {}
    hashed: dict[Path, dict[str, str]] = {}
    now: dict[str, dict[str, Any]] = {}
    for key, path in input_paths(config).items():
        if path not in hashed:
            hashed[path] = hashes(path)
        if key in known:
            _compare(key, path, hashed[path], known[key], run_folder)
        if hashed[path]:
            now[key] = {"path": str(path), "files": hashed[path]}
    if now != known:
        run_folder.write_json(FILE, known | now)


def input_paths(config: Config) -> dict[str, Path]:
    """Return the files and folders that a run of this config reads, by key; policies.NAME for each of several."""
    paths = {key: value for key, value in config if isinstance(value, Path) and key not in _OUTPUTS}
    paths |= {f"policies.{name}": path for name, path in getattr(config, "policies", {}).items()}
    return paths


def hashes(path: Path) -> dict[str, str]:
    """Return the SHA-256 of a file, or of each file in a folder that a run may read, by name; empty if none exists.

    Raise ValueError if a snapshot's file is not the one that its manifest lists.
    """
    if path.is_file():
        return {"": _sha256(path)}
    if not path.is_dir():
        return {}
    if (path / "manifest.json").is_file():
        return _of_snapshot(path)
    return {each.name: _sha256(each) for each in sorted(path.iterdir()) if _is_read(each)}


def _of_snapshot(folder: Path) -> dict[str, str]:
    found = {}
    try:
        manifest = Manifest.model_validate_json((folder / "manifest.json").read_bytes())
    except ValueError:
        raise ValueError(
            f"data: {folder / 'manifest.json'} is no manifest of a snapshot; copy the folder again"
        ) from None
    for file in manifest.files:
        path = folder / file.name
        if not path.is_file():
            raise ValueError(f"data: {folder} lacks {file.name}, which its manifest lists; copy the whole folder")
        found[file.name] = _sha256(path)
        if found[file.name] != file.sha256:
            raise ValueError(
                f"data: {path} is not what its manifest lists (its SHA-256 differs): a copy was cut short, or the file "
                "was changed after it was frozen; copy the folder again, or freeze the data again"
            )
    return found


def _is_read(path: Path) -> bool:
    """Return whether a file may affect what a run computes; hidden files, notes (.md) and locks do not."""
    return path.is_file() and not path.name.startswith(".") and path.suffix not in (".md", ".lock")


def _compare(key: str, path: Path, files: dict[str, str], known: dict[str, Any], run_folder: RunFolder) -> None:
    if not files:
        raise ValueError(f"{key}: {path} is not there; the run read it at its start: name its new place")
    differing = [name for name in files.keys() | known["files"].keys() if files.get(name) != known["files"].get(name)]
    if differing:
        which = path / min(differing)
        raise ValueError(
            f"{key}: {which} is not what the run began with (at {known['path']}); give it the same files, or start a "
            "new run in another folder"
        )
    if str(path) != known["path"]:
        run_folder.report(Warned(message=f"{key}: {path} now, {known['path']} before; it holds the same"))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
