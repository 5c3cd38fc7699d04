"""Every setting of Plumbline, once, typed; each is read from the environment with the prefix PLUMBLINE_."""

import hashlib
import os
import secrets
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

ROOT = Path(__file__).resolve().parent.parent


class Settings(BaseSettings):
    """Settings of this process; embedded defaults run the whole product from one folder."""

    model_config = SettingsConfigDict(env_prefix="PLUMBLINE_", extra="ignore")

    host: str = Field("127.0.0.1", description="Address the web server listens on.")
    port: int = Field(8000, description="Port the web server listens on.")
    public_url: str = Field("", description="Address people type; https makes cookies Secure. Empty: host and port.")
    data_dir: Path = Field(ROOT / "data", description="Folder of the database, snapshots, runs and the secret.")
    database_url: str = Field("", description="SQLAlchemy URL. Empty: SQLite in the data folder.")
    broker_url: str = Field("", description="Redis URL of the queue. Empty: the Valkey that `plumbline run` starts.")
    secret: str = Field("", description="Key of pseudonyms and CSRF tokens. Empty: made once, kept in the data folder.")
    trusted_proxies: str = Field("", description="Addresses whose X-Forwarded-* headers are believed, comma-separated.")
    argon2_memory_kib: int = Field(65536, description="Memory that hashing one password takes; tests need little.")
    log_level: str = Field("INFO", description="DEBUG, INFO, WARNING or ERROR.")
    session_hours: int = Field(24 * 14, description="How long a sign-in lasts.")
    lease_minutes: int = Field(30, description="How long an assignment stays with a labeler without a heartbeat.")
    job_lease_seconds: int = Field(60, description="How long a job stays with a supervisor that does not renew it.")
    training_processes: int = Field(
        1, ge=1, description="Processes that share one training, as many as there are GPUs."
    )
    job_attempts: int = Field(3, description="How often a job is started in all before it counts as failed.")
    max_body_bytes: int = Field(4_000_000, description="Largest request accepted that is not an import.")
    endpoint_keys: str = Field("", description="Environment variables that may hold keys of endpoints, by comma.")
    sampler_host: str = Field("127.0.0.1", description="Address at which `plumbline sampler` lets networks answer.")
    tokenizer: str = Field("", description="A tokenizer.json to count texts by. Empty: 4 bytes of text a token.")
    max_completion_tokens: int = Field(1024, description="Longest completion that a labeler may hand in, in tokens.")
    max_upload_bytes: int = Field(200_000_000, description="Largest import file accepted.")
    personal_data: Literal["built-in", "presidio"] = Field(
        "built-in", description="What finds personal data in prompts; presidio, the extra `pii`, adds names and places."
    )

    @property
    def endpoint_key_names(self) -> list[str]:
        """The names in `endpoint_keys`."""
        return [name.strip() for name in self.endpoint_keys.split(",") if name.strip()]

    @property
    def base_url(self) -> str:
        """The address people type, without a trailing slash."""
        return (self.public_url or f"http://{self.host}:{self.port}").rstrip("/")

    @property
    def sqlalchemy_url(self) -> str:
        """The database's URL, embedded SQLite unless one was given."""
        return self.database_url or f"sqlite:///{self.data_dir / 'plumbline.db'}"

    @property
    def broker_socket(self) -> Path:
        """Where `plumbline run` lets its Valkey listen; not in the data folder, as a socket's path must be short."""
        folder = hashlib.sha256(str(self.data_dir.resolve()).encode()).hexdigest()[:12]
        return Path(f"/tmp/plumbline-{os.getuid()}") / folder / "valkey.sock"

    @property
    def broker(self) -> str:
        """The queue's URL, the embedded Valkey of this data folder unless one was given."""
        return self.broker_url or f"redis+socket://{self.broker_socket}?virtual_host=0"

    @property
    def key(self) -> bytes:
        """The secret key; on first use it is made and kept, readable by the owner alone."""
        if self.secret:
            return self.secret.encode()
        path = self.data_dir / "secret"
        if not path.exists():
            self.data_dir.mkdir(parents=True, exist_ok=True)
            draft = path.with_suffix(f".{secrets.token_hex(4)}")
            draft.touch(mode=0o600)
            draft.write_text(secrets.token_hex(32))
            try:
                path.hardlink_to(draft)  # the first process wins, all read the same key
            except FileExistsError:
                pass
            finally:
                draft.unlink()
        return path.read_text().strip().encode()


@lru_cache
def settings() -> Settings:
    """The settings of this process, read once."""
    return Settings()
