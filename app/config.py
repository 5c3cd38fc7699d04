"""All settings of Plumbline, typed; each is read from the environment with the prefix PLUMBLINE_."""

import hashlib
import os
import stat
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.kit import secret

ROOT = Path(__file__).resolve().parent.parent
OURS = ("plumbline.db", "secret", "run.lock", "snapshots", "runs", "logs")  # typical contents of our data folder


class Settings(BaseSettings):
    """Settings of this process; the embedded defaults run the whole product from one folder."""

    model_config = SettingsConfigDict(env_prefix="PLUMBLINE_", extra="ignore")

    host: str = Field("127.0.0.1", description="Address the web server listens on.")
    port: int = Field(8000, description="Port the web server listens on.")
    public_url: str = Field("", description="Address people type in; https makes cookies Secure. Empty: host and port.")
    data_dir: Path = Field(ROOT / "data", description="Folder for the database, snapshots, runs and the secret.")
    database_url: str = Field("", description="SQLAlchemy URL of the database. Empty: SQLite in the data folder.")
    broker_url: str = Field("", description="Redis URL of the queue. Empty: the Valkey that `plumbline run` starts.")
    secret: str = Field("", description="Key for pseudonyms and CSRF tokens, at least 32 bytes. Empty: one is created.")
    trusted_proxies: str = Field("", description="Addresses whose X-Forwarded-* headers are trusted, comma-separated.")
    argon2_memory_kib: int = Field(65536, description="Memory used to hash one password; tests use little.")
    log_level: str = Field("INFO", description="DEBUG, INFO, WARNING or ERROR.")
    web_processes: int = Field(
        0, ge=0, le=64, description="Web server processes. 0: one on SQLite, one for each core on PostgreSQL."
    )
    session_hours: int = Field(24 * 14, description="How long a sign-in lasts.")
    idle_hours: int = Field(
        24 * 3, ge=1, description="How long a sign-in lasts without use; live pages do not count as use."
    )
    lease_minutes: int = Field(30, description="How long an assignment stays with a labeler without a heartbeat.")
    job_lease_seconds: int = Field(
        60, description="How long a job stays with a supervisor that does not renew its lease."
    )
    training_processes: int = Field(
        1, ge=1, description="Processes that share one training run; set it to the number of GPUs."
    )
    job_attempts: int = Field(3, description="How many times a job is started before it counts as failed.")
    max_body_bytes: int = Field(4_000_000, description="Largest request accepted, except for imports.")
    endpoint_keys: str = Field("", description="Environment variables that may hold endpoint keys, comma-separated.")
    endpoint_hosts: str = Field(
        "", description="Hosts allowed for endpoints, comma-separated. Empty: any except cloud metadata."
    )
    folders: str = Field("", description="Folders for models and texts besides the data folder, comma-separated.")
    sampler_host: str = Field("127.0.0.1", description="Address that `plumbline sampler` listens on.")
    tokenizer: str = Field("", description="A tokenizer.json to count tokens with. Empty: 4 bytes of text per token.")
    max_completion_tokens: int = Field(1024, description="Longest completion that a labeler may submit, in tokens.")
    max_upload_bytes: int = Field(200_000_000, description="Largest import file accepted.")
    personal_data: Literal["built-in", "presidio"] = Field(
        "built-in",
        description="What finds personal data in prompts; presidio (the extra `pii`) also finds names and places.",
    )

    @property
    def endpoint_key_names(self) -> list[str]:
        """The names in `endpoint_keys`."""
        return [name.strip() for name in self.endpoint_keys.split(",") if name.strip()]

    @property
    def allowed_endpoint_hosts(self) -> list[str]:
        """The hosts in `endpoint_hosts`, in lower case."""
        return [name.strip().lower() for name in self.endpoint_hosts.split(",") if name.strip()]

    @property
    def allowed_folders(self) -> list[Path]:
        """The folders in `folders`."""
        return [Path(name.strip()) for name in self.folders.split(",") if name.strip()]

    @property
    def base_url(self) -> str:
        """The address that people open, without a trailing slash."""
        return (self.public_url or f"http://{self.host}:{self.port}").rstrip("/")

    @property
    def sqlalchemy_url(self) -> str:
        """URL of the database; embedded SQLite by default."""
        return self.database_url or f"sqlite:///{self.data_dir / 'plumbline.db'}"

    @property
    def web_server_processes(self) -> int:
        """How many processes serve the web; SQLite has one writer, so there more of them would only wait."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return self.web_processes or (1 if self.sqlalchemy_url.startswith("sqlite") else cores)

    @property
    def broker_socket(self) -> Path:
        """Socket of the Valkey that `plumbline run` starts; outside the data folder, as a socket path must be short."""
        folder = hashlib.sha256(str(self.data_dir.resolve()).encode()).hexdigest()[:12]
        return Path(f"/tmp/plumbline-{os.getuid()}") / folder / "valkey.sock"

    @property
    def broker(self) -> str:
        """URL of the queue; the embedded Valkey of this data folder by default."""
        return self.broker_url or f"redis+socket://{self.broker_socket}?virtual_host=0"

    @property
    def key(self) -> bytes:
        """The secret key, from PLUMBLINE_SECRET or the data folder; raises WeakSecret if it could be guessed."""
        return secret.given(self.secret) if self.secret else secret.stored(self.make_data_dir() / "secret")

    def make_data_dir(self) -> Path:
        """Create the data folder if needed, deny other users of the machine access, and return it."""
        self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = self.data_dir.stat()
        # A shared folder such as /tmp, or one with another owner, is left unchanged; doctor reports it.
        ours = not any(self.data_dir.iterdir()) or any((self.data_dir / name).exists() for name in OURS)
        if found.st_mode & 0o077 and found.st_uid == os.getuid() and not found.st_mode & stat.S_ISVTX and ours:
            self.data_dir.chmod(0o700)
        return self.data_dir


@lru_cache
def settings() -> Settings:
    """Return the settings of this process, read once."""
    return Settings()
