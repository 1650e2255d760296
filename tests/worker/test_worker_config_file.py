"""What people read when a configuration file is wrong: file, line, key, value, and what is accepted."""

import datetime as dt
from pathlib import Path

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from headrace_api.toml_file import ConfigError, located, parse
from headrace_api.two_file import CapFile, EnvFile, read
from headrace_api.worker_config import WorkerConfig
from headrace_worker.config_file import load

HEAD = 'edition = 1\n[generator]\ntype = "VLLMEngine"\nmodel_id = "m"\n'
CAP = 'checkpoint_name = "m"\n[checkpoint]\ntype = "luminous"\ndirectory = "/d"\n'
MODELS = {"c.toml": WorkerConfig, "env.toml": EnvFile, "cap.toml": CapFile}
SECRET = "4f0c"


def said(text: str, name: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(text, name, MODELS[name])
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        # the edition
        ("edition = 2\n[generator]\n", "c.toml, line 1: edition: 2 is not accepted; accepted: 1, the only edition"),
        ('\nedition = "1"\n', "c.toml, line 2: edition: '1' is not accepted; accepted: 1, the only"),
        ("edition = true\n", "c.toml, line 1: edition: true is not accepted; accepted: 1, the only"),
        ("edition = 1.0\n", "c.toml, line 1: edition: 1.0 is not accepted; accepted: 1, the only"),
        ("edition = 1979-05-27\n", "c.toml, line 1: edition: 1979-05-27 is not accepted; accepted: 1, the"),
        ("[generator]\n", "c.toml: edition: missing; accepted: edition = 1"),
        ("", "c.toml: edition: missing; accepted: edition = 1"),
        # TOML itself
        ("edition = 1\n[generator", "c.toml, line 2: not valid TOML: Expected ']' at the end of a table declaration"),
        ("edition = 1\nedition = 1\n", "c.toml, line 2: not valid TOML: Cannot overwrite a value"),
        ("edition = 1\n\x00", "c.toml, line 2: not valid TOML: Invalid statement (at line 2, column 1)"),
        ("edition = " + "9" * 5000, "c.toml: not valid TOML: Exceeds the limit (4300 digits)"),
        ("x = " + "[" * 100_000, "c.toml: nested too deeply; accepted: 32 levels"),
        ("edition = 1\n" + ".".join("a" * 50) + " = 1", "c.toml, line 2: a: nested too deeply; accepted: 32 levels"),
        (
            "edition = 0x" + "f" * 5000,
            "c.toml, line 1: edition: the number is too large; accepted: whole numbers of 64",
        ),
        (HEAD + 'hf_model_id = "a\\u0000b"\n', "line 5: generator.hf_model_id: a NUL character is not accepted; acc"),
        ("x = '\ud800'\n", "c.toml, line 1: not valid TOML: half of a surrogate pair is no character"),
        # keys
        (
            HEAD + "[queue]\nurll = 'x'\n",
            "line 6: queue.urll: unknown key (did you mean url?); accepted here: url, token",
        ),
        (
            HEAD + "[generator.unstable]\nx = 1\n",
            "line 6: generator.unstable.x: unknown key; accepted here: skip_check",
        ),
        (
            "metrics_port = 1\n" + HEAD,
            "c.toml, line 1: metrics_port: unknown key (it belongs in [monitoring]); accepted",
        ),
        (HEAD + '"a\\nb" = 1\n', "c.toml, line 2: generator.'a\\nb': unknown key; accepted here: type, model_id"),
        ("edition = 1\n[queue]\nurl = 'http://q'\n", "c.toml: generator: missing; it is required"),
        ("edition = 1\n[generator]\nmodel_id = 'm'\n", "c.toml, line 2: generator.type: missing; it is required"),
        (
            "edition = 1\n[generator]\ntype = 'VLLMEngine'\n[queue]\n",
            "c.toml, line 4: queue.checkpoint_name: missing, and so is generator.model_id; accepted: either, as the",
        ),
        # values
        (
            "edition = 1\n[generator]\ntype = 'GPT'\nmodel_id = 'm'\n",
            (
                "line 3: generator.type: 'GPT' is not accepted; accepted: 'VLLMEngine', 'TRTLLMEngine', "
                "'EmbeddingEngine', 'LlamaCppEngine', 'luminous' or a name like vendor.Name"
            ),
        ),
        (
            HEAD + "[queue]\nhttp_request_retries = -1\n",
            "retries: -1 is not accepted; accepted: greater than or equal to 0",
        ),
        (
            HEAD + "[queue]\nhttp_request_retries = '7'\n",
            "line 6: queue.http_request_retries: '7' is not accepted; accepted: a",
        ),
        (
            HEAD + "auto_memory_config = 'yes'\n",
            "generator.auto_memory_config: 'yes' is not accepted; accepted: true or false",
        ),
        (
            HEAD + "memory_safety_margin = nan\n",
            "memory_safety_margin: nan is not accepted; accepted: less than 1",
        ),
        (
            HEAD + "[monitoring]\ntcp_probes = [1, 99999]\n",
            "line 6: monitoring.tcp_probes[1]: 99999 is not accepted; accepted: le",
        ),
        (
            HEAD + "[monitoring]\ntcp_probes = 80\n",
            "line 6: monitoring.tcp_probes: 80 is not accepted; accepted: a list",
        ),
        ("edition = 1\ngenerator = 5\n", "c.toml, line 2: generator: 5 is not accepted; accepted: a table"),
        (
            HEAD + "hf_model_id = 1979-05-27T07:32:00Z\n",
            "hf_model_id: 1979-05-27T07:32:00+00:00 is not accepted; accepted: text",
        ),
        (HEAD + "engine_kwargs = [1]\n", "line 5: generator.engine_kwargs: [1] is not accepted; accepted: a table"),
        (HEAD + "[queue]\ntags = ['a', 1]\n", "line 6: queue.tags[1]: 1 is not accepted; accepted: text"),
        (
            HEAD + "[queue]\nurl = 'q:80'\n",
            "line 6: queue.url: 'q:80' is not accepted; accepted: text that matches '^(https?|wss?)://.+'",
        ),
        (
            HEAD + "[generator.engine_kwargs]\na = [nan]\n",
            "line 5: generator.engine_kwargs: a[0] is nan: numbers are finite",
        ),
        # unions: one sentence, not one for each member
        (
            HEAD + "[generator.generation]\nprompt_format = 5\n",
            "line 6: generator.generation.prompt_format: 5 is not accepted; acc",
        ),
        (
            HEAD + "[generator.generation]\nstopping_sequences = ['a', true]\n",
            (
                "line 6: generator.generation.stopping_sequences[1]: true is not accepted; accepted: text or a whole "
                "number or a list (each item a whole number or text)"
            ),
        ),
        # both forms
        (
            HEAD + "[checkpoint]\n",
            (
                "line 5: checkpoint: two forms are mixed in one file; of edition 1 (--config): edition, [generator]; "
                "of cap.toml (-c): [checkpoint] (now [generator]); accepted: the keys of one form"
            ),
        ),
        (
            "diagnostics = true\ncheckpoint_name = 'm'\ngpu_model_name = 'g'\n" + HEAD,
            (
                "c.toml, line 1: diagnostics: two forms are mixed in one file; of edition 1 (--config): edition, "
                "[generator]; of env.toml (-e): diagnostics (now the environment variable LOG_LEVEL); of cap.toml "
                "(-c): checkpoint_name (now in [queue]), gpu_model_name (now dropped)"
            ),
        ),
        (
            CAP,
            "c.toml, line 1: checkpoint_name: this is a file of the two-file form: start with -e env.toml -c cap.toml",
        ),
        (
            HEAD + "directory = '/d'\n",
            "line 5: generator.directory: a key of [checkpoint]; accepted: weight_set_directories = ['/d']",
        ),
    ],
)
def test_a_mistake_in_edition_1(text: str, message: str) -> None:
    assert message in said(text, "c.toml")
    assert "\n" not in said(text, "c.toml")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "env.toml",
            "diagnostic = true\n",
            "env.toml, line 1: diagnostic: unknown key (did you mean diagnostics?); accepted",
        ),
        ("env.toml", "diagnostics = 1\n", "env.toml, line 1: diagnostics: 1 is not accepted; accepted: true or false"),
        ("env.toml", "[queue]\nhostings = 'a'\n", "line 2: queue.hostings: 'a' is not accepted; accepted: a list"),
        (
            "env.toml",
            f"[queue]\ntoken = 0x{SECRET}\n",
            "queue.token: a value of type int is not accepted; accepted: text",
        ),
        (
            "env.toml",
            "[queue]\ncheckpoint_name = 'm'\n",
            "line 2: queue.checkpoint_name: a key of edition 1; in the two-file",
        ),
        (
            "env.toml",
            CAP,
            "env.toml, line 1: checkpoint_name: a key of cap.toml, in env.toml; env.toml is given with -e",
        ),
        (
            "env.toml",
            HEAD,
            "env.toml, line 1: edition: this is a file of edition 1: start with --config worker_config.toml",
        ),
        ("env.toml", "diagnostics = true\n" + HEAD, "line 2: edition: two forms are mixed in one file; of edition 1"),
        (
            "cap.toml",
            "diagnostics = true\n" + CAP,
            "cap.toml, line 1: diagnostics: a key of env.toml, in cap.toml; env",
        ),
        ("cap.toml", CAP + "[queue]\n", "cap.toml, line 5: queue: a key of env.toml, in cap.toml; env.toml is given"),
        (
            "cap.toml",
            "[checkpoint]\ntype = 'luminous'\ndirectory = '/d'\n",
            "cap.toml: checkpoint_name: missing; it is required",
        ),
        ("cap.toml", "checkpoint_name = ''\n" + CAP[22:], "line 1: checkpoint_name: '' is not accepted; accepted: "),
        (
            "cap.toml",
            "checkpoint_name = 'm'\n[checkpoint]\ntype = 'luminous'\n",
            "line 2: checkpoint.directory: missing; it",
        ),
        (
            "cap.toml",
            CAP + "tokenizer_filename = 'a/b'\n",
            "line 5: checkpoint.tokenizer_filename: 'a/b' is not accepted; accepted: t",
        ),
        (
            "cap.toml",
            CAP + "tensor_parallel_size = 0\n",
            "line 5: checkpoint.tensor_parallel_size: 0 is not accepted; accepted: gr",
        ),
        (
            "cap.toml",
            CAP + "tokenizer_path = '/t'\n",
            "line 5: checkpoint.tokenizer_path: unknown key (did you mean tokeni",
        ),
        (
            "cap.toml",
            "checkpoint_name = 'm'\ncheckpoint = 'x'\n",
            "line 2: checkpoint: 'x' is not accepted; accepted: a table",
        ),
    ],
)
def test_a_mistake_in_the_two_file_form(name: str, text: str, message: str) -> None:
    assert message in said(text, name)
    assert "\n" not in said(text, name)
    assert str(int(SECRET, 16)) not in said(text, name)


def test_a_prompt_format_that_lacks_keys_says_which() -> None:
    text = HEAD + "[generator.generation.prompt_format]\nsystem = '{instruction}'\nuser = '{instruction}'\n"
    lines = said(text, "c.toml").splitlines()
    assert lines
    assert all(line.startswith("c.toml, line ") for line in lines)
    assert not [line for line in lines if "PromptFormat" in line]
    assert "c.toml, line 5: generator.generation.prompt_format.assistant: missing; it is required" in lines


def test_several_mistakes_are_several_lines() -> None:
    assert len(said("edition = 1\n[generator]\ntype = 'GPT'\nmodel_id = ''\n", "c.toml").splitlines()) == 2


def test_mistakes_in_both_files_are_told_together() -> None:
    with pytest.raises(ConfigError) as caught:
        read("diagnostics = 1\n", "env.toml", "x = \n", "cap.toml")
    assert [line.split(",")[0] for line in str(caught.value).splitlines()] == ["env.toml", "cap.toml"]


def test_lines_are_those_of_keys_not_of_texts_that_look_like_keys() -> None:
    text = HEAD + 'hf_model_id = """\n[queue]\nurll = 1\n"""\n[ queue ] # the queue\n "urll" = 1\n'
    assert said(text, "c.toml").startswith("c.toml, line 10: queue.urll: unknown key")
    assert located(HEAD, "c.toml", "generator.model_id: not there") == "c.toml, line 4: generator.model_id: not there"


TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none().map(lambda _: dt.date(1979, 5, 27)) | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(
    [
        "edition",
        "generator",
        "queue",
        "monitoring",
        "checkpoint",
        "checkpoint_name",
        "diagnostics",
        "gpu_model_name",
        "type",
        "model_id",
        "url",
        "token",
        "tags",
        "hostings",
        "tcp_probes",
        "directory",
        "tokenizer_filename",
        "unstable",
        "generation",
        "prompt_format",
        "stopping_sequences",
        "runtime_env",
        "env_vars",
        "engine_kwargs",
        "weight_set_directories",
        "s3_mirror_config",
        "extra_files",
    ]
)
DOCUMENTS = st.dictionaries(KEYS, st.dictionaries(KEYS | TEXTS, st.dictionaries(KEYS, VALUES) | VALUES) | VALUES)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
@given(text=st.text() | st.text("[]{}\"'\\.,=#\n 1aeE+-_xu:TZ") | DOCUMENTS.map(tomli_w.dumps))
def test_no_text_raises_anything_else(name: str, text: str) -> None:
    try:
        parse(text, name, MODELS[name])
    except ConfigError as error:
        lines = str(error).split("\n")
    else:
        return
    assert all(line.startswith(name) for line in lines)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read the configuration: No such file or directory"),
        ("folder", "cannot read the configuration: Is a directory"),
        (b"edition = 1\n# \xff\n", "c.toml, line 2: not UTF-8 text, which every TOML file is"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, content: bytes | str | None, message: str) -> None:
    path = tmp_path / "c.toml"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content:
        path.mkdir()
    with pytest.raises(ConfigError) as caught:
        load(path, None, None)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text("\ufeff" + HEAD.replace("\n", "\r\n"), encoding="utf-8")
    assert load(path, None, None).config.model_name == "m"
