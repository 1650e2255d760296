import socket
from pathlib import Path

import pytest

from headrace_worker.settings import SettingsError, read, usable_token


def test_defaults() -> None:
    settings = read({})
    assert (settings.log_level, settings.grace_seconds, settings.queue_token) == ("info", 25, None)
    assert settings.worker_name == socket.gethostname()


def test_the_environments_token_wins_and_stays_out_of_the_engine(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("from-file\n")
    both = read({"HEADRACE_QUEUE_TOKEN": "direct", "HEADRACE_QUEUE_TOKEN_FILE": str(file), "HOME": "/h"})
    assert usable_token(both, "from-toml") == "direct"
    assert both.engine_environment["HOME"] == "/h"
    assert not {"HEADRACE_QUEUE_TOKEN", "HEADRACE_QUEUE_TOKEN_FILE"} & both.engine_environment.keys()
    assert usable_token(read({"HEADRACE_QUEUE_TOKEN_FILE": str(file)}), "from-toml") == "from-file"
    assert usable_token(read({}), "from-toml") == "from-toml"
    assert usable_token(read({}), None) is None


def test_what_engines_compile_is_kept_beside_the_models() -> None:
    names = ("VLLM_CACHE_ROOT", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "FLASHINFER_WORKSPACE_BASE")
    image = read({"XDG_CACHE_HOME": "/var/lib/headrace/cache"}).engine_environment
    assert {image[name].startswith("/var/lib/headrace/cache/headrace") for name in names} == {True}
    said = read({"HEADRACE_CACHE": "/c", "VLLM_CACHE_ROOT": "/mine"}).engine_environment
    assert (said["VLLM_CACHE_ROOT"], said["TRITON_CACHE_DIR"]) == ("/mine", "/c/triton")


def test_a_masked_token_is_refused_unless_the_environment_has_the_real_one() -> None:
    with pytest.raises(SettingsError, match="HEADRACE_QUEUE_TOKEN"):
        usable_token(read({}), "XXXXXXXX")
    assert usable_token(read({"HEADRACE_QUEUE_TOKEN": "real"}), "XXXXXXXX") == "real"


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("LOG_LEVEL", "loud", "debug, info"),
        ("HEADRACE_GRACE_SECONDS", "soon", "0 or more"),
        ("HEADRACE_GRACE_SECONDS", "-1", "0 or more"),
        ("HEADRACE_GRACE_SECONDS", "nan", "0 or more"),
        ("HEADRACE_HANG_SECONDS", "never", "0 or more"),
        ("HEADRACE_QUEUE_TOKEN_FILE", "/nonexistent/token", "cannot read"),
    ],
)
def test_unusable_values_are_named(name: str, value: str, says: str) -> None:
    with pytest.raises(SettingsError, match=says) as caught:
        read({name: value})
    assert name in str(caught.value)
    assert value in str(caught.value)
