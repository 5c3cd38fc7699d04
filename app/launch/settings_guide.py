"""`make settings` writes docs/settings.md from app/config.py; a test checks that the file is current."""

from app.config import ROOT, Settings

PATH = ROOT / "docs" / "settings.md"
BEGIN = """# Settings

For people who run Plumbline. Each setting is an environment variable, and all are optional. `make run`, `plumbline` and
every service read them when they start. In Compose, set them in `.env` ([deploy.md](deploy.md)). `make settings` writes
this page from `app/config.py`.

| setting | default | description |
|---|---|---|
"""
END = """
Variables that other programs read:

| variable | read by | description |
|---|---|---|
| `PLUMBLINE_BIND` | `docker-compose.yml` | address and port on the host for the web server; default `127.0.0.1:8000` |
| `POSTGRES_PASSWORD` | `docker-compose.yml` | password of the database, letters and digits |
| `PLUMBLINE_PASSWORD` | `plumbline account` | the password; without it, the command asks for one |
| `PLUMBLINE_TOKEN` | `plumbline simulate` | with `--url`, an admin's token in place of `--token` |
| `ENDPOINT_KEY` | `training.sample_completions`, `training.evaluate` | key of the server that `endpoint` names |
| `SERVE_POLICY_KEY` | `training.serve_policy` | bearer token that requests must send |
| `CUDA_VISIBLE_DEVICES` | torch | the GPUs that a training worker or the sampler uses; empty: none |
"""


def guide() -> str:
    """Return the text of docs/settings.md."""
    rows = []
    for name, field in Settings.model_fields.items():
        default = str(field.default).replace(str(ROOT), "").lstrip("/")
        shown = f"`{default}`" if default else "empty"
        rows.append(f"| `PLUMBLINE_{name.upper()}` | {shown} | {field.description} |")
    return BEGIN + "\n".join(rows) + "\n" + END


if __name__ == "__main__":
    PATH.write_text(guide())
