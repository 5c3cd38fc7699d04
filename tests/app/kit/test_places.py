"""Folders and addresses that people who sign in may name, and what a child process is told."""

import pytest

from app import config
from app.database import transaction
from app.errors import BadInput
from app.jobs import rules as jobs
from app.kit.children import environment
from app.kit.places import check_address, check_folder
from app.policies import rules as policies
from app.policies.schemas import PolicyIn
from tests.conftest import fresh_database
from training.contract import configs


@pytest.fixture(params=["sqlite"])
def database(request, tmp_path, monkeypatch):
    """The rules are above the databases."""
    yield from fresh_database(request, tmp_path, monkeypatch)


def test_paths_lie_in_the_data_folder_or_one_that_the_operator_named(database, tmp_path, monkeypatch):
    data, other = config.settings().data_dir, tmp_path / "networks"
    (data / "link").symlink_to("/etc")
    (data / "runs").mkdir()
    (data / "secret").touch()
    check_folder(data / "runs" / "x", "path")
    outside = ["/etc/passwd", data / ".." / "x", data / "link" / "passwd", str(data) + "x", other, "relative"]
    for path in [*outside, data, data / "secret", data / "plumbline.db", data / "runs" / ".." / "secret"]:
        with pytest.raises(BadInput, match="PLUMBLINE_FOLDERS"):
            check_folder(path, "path")
    monkeypatch.setenv("PLUMBLINE_FOLDERS", f"/srv, {other}")
    config.settings.cache_clear()
    check_folder(other / "gemma", "path")


CASES = [
    ("train_base", {"text": "/etc/passwd"}),
    ("train_base", {"recipe": "miniature_base", "cache": "/tmp/elsewhere"}),
    ("train_sft", {"data": "/etc", "init_from": "checkpoint:x"}),
    ("train_sft", {"data": "snapshot:x", "init_from": "checkpoint:x/../../../../etc"}),
    ("evaluate", {"policies": {"a": "checkpoint:x", "b": "/etc"}}),
]


@pytest.mark.parametrize(("verb", "given"), CASES)
def test_a_job_of_an_admin_names_no_other_paths_and_the_command_line_does(people, verb, given):
    olga = people.admin()
    with transaction() as session, pytest.raises(BadInput, match="PLUMBLINE_FOLDERS"):
        jobs.create(session, verb, {**given}, by=olga)


def test_the_command_line_names_any_path(database):
    with transaction() as session:
        assert jobs.create(session, "train_base", {"text": "/etc/passwd"}).config["text"] == "/etc/passwd"


def test_every_path_of_a_config_is_looked_at():
    shapes = [one for one in vars(configs).values() if isinstance(one, type) and issubclass(one, configs.Config)]
    paths = {name for shape in shapes for name, one in shape.model_fields.items() if "Path" in str(one.annotation)}
    assert paths == jobs.PATHS


METADATA = ["169.254.169.254", "[fe80::1]", "0.0.0.0", "[::ffff:169.254.169.254]", "[fd00:ec2::254]"]


@pytest.mark.parametrize("host", METADATA)
def test_a_clouds_metadata_is_no_endpoint(people, host):
    with transaction() as session, pytest.raises(BadInput, match="metadata") as refused:
        policies.create(session, PolicyIn(name="x", kind="endpoint", endpoint_url=f"http://{host}/v1"), None)
    assert refused.value.field == "endpoint_url"


def test_the_operator_names_the_hosts(database, monkeypatch):
    check_address("http://127.0.0.1:8001/v1", "endpoint_url")
    monkeypatch.setenv("PLUMBLINE_ENDPOINT_HOSTS", "api.example.org, 127.0.0.1")
    config.settings.cache_clear()
    check_address("https://API.example.org/v1", "endpoint_url")
    for host in ("evil.example", "api.example.org.evil.example", "localhost"):
        with pytest.raises(BadInput, match="PLUMBLINE_ENDPOINT_HOSTS"):
            check_address(f"http://{host}/v1", "endpoint_url")


def test_no_child_inherits_secrets_or_keys_of_endpoints(database, monkeypatch):
    hidden = {"PLUMBLINE_SECRET": "s" * 40, "PLUMBLINE_BROKER_URL": "redis://x", "SHOP_KEY": "k"}
    for name, value in {**hidden, "PLUMBLINE_ENDPOINT_KEYS": "SHOP_KEY", "OTHER": "seen"}.items():
        monkeypatch.setenv(name, value)
    config.settings.cache_clear()
    told = environment()
    assert not hidden.keys() & told.keys() and "PLUMBLINE_DATABASE_URL" not in told and told["OTHER"] == "seen"
