"""`make settings` writes docs/settings.md from app/config.py; a test holds that it is current."""

from app.config import ROOT, Settings

PATH = ROOT / "docs" / "settings.md"
BEGIN = """# Settings

For whoever runs Plumbline. Each setting is an environment variable; none has to be set. `make run`, `plumbline` and
every service read them when they start. In Compose they stand in `.env` ([deploy.md](deploy.md)). This page is written
by `make settings` from `app/config.py`.

| setting | default | what it is |
|---|---|---|
"""
END = """
What other programs read:

| variable | read by | what it is |
|---|---|---|
| `PLUMBLINE_BIND` | `docker-compose.yml` | address and port of the host for the web server, `127.0.0.1:8000` |
| `POSTGRES_PASSWORD` | `docker-compose.yml` | password of the database, letters and digits |
| `PLUMBLINE_PASSWORD` | `plumbline account` | the password, which is asked for otherwise |
| `PLUMBLINE_TOKEN` | `plumbline simulate` | with `--url`, an admin's token in place of `--token` |
| `ENDPOINT_KEY` | `training.sample_completions`, `training.evaluate` | key of the server that `endpoint` names |
| `SERVE_POLICY_KEY` | `training.serve_policy` | bearer token that requests need |
| `CUDA_VISIBLE_DEVICES` | torch | the GPUs that a training worker or the sampler uses; empty: none |
"""


def guide() -> str:
    """The text of docs/settings.md."""
    rows = []
    for name, field in Settings.model_fields.items():
        default = str(field.default).replace(str(ROOT), "").lstrip("/")
        shown = f"`{default}`" if default else "empty"
        rows.append(f"| `PLUMBLINE_{name.upper()}` | {shown} | {field.description} |")
    return BEGIN + "\n".join(rows) + "\n" + END


if __name__ == "__main__":
    PATH.write_text(guide())
