import pytest

from headrace_worker.config_file import ConfigError, parse

GENERATOR = '[generator]\ntype = "VLLMEngine"\nmodel_id = "m"\n'


def test_the_seeds_example_is_read_with_an_engine_of_the_registry() -> None:
    config = parse(
        """
edition = 1
[generator]
type = "VLLMEngine"
model_id = "luminous"
pipeline_parallel_size = 1
tensor_parallel_size = 1
tokenizer_path = "/path/to/checkpoint/tokenizer.json"
weight_set_directories = [ "/path/to/checkpoint",]
auto_memory_config = true
memory_safety_margin = 0.05
[queue]
url = "http://localhost:8080"
token = "XXXXXXXX"
checkpoint_name = "luminous-base"
tags = []
http_request_retries = 7
[monitoring]
metrics_port = 4000
tcp_probes = []
[generator.unstable]
skip_checkpoint_load = false""",
        "c.toml",
    )
    assert config.model_name == "luminous-base"
    assert config.generator.source == "/path/to/checkpoint"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("edition = 2\n" + GENERATOR, "c.toml, line 1: edition: 2 is not accepted; accepted: 1"),
        (GENERATOR, "c.toml: edition: missing; accepted: edition = 1"),
        ("edition = 1\n[generator", "c.toml, line 2: not valid TOML"),
        (
            "edition = 1\n" + GENERATOR + "[queue]\nurll = 'x'\n",
            "c.toml, line 6: queue.urll: unknown key; accepted here: ",
        ),
        (
            "edition = 1\n" + GENERATOR + "[generator.unstable]\nx = 1\n",
            "line 6: generator.unstable.x: unknown key; acc",
        ),
        (
            "edition = 1\n" + GENERATOR + "[queue]\nhttp_request_retries = -1\n",
            "line 6: queue.http_request_retries: -1 ",
        ),
        (
            "edition = 1\n[generator]\ntype = 'GPT'\nmodel_id = 'm'\n",
            "line 3: generator.type: 'GPT' is not accepted; ac",
        ),
        ("edition = 1\n[generator]\ntype = 'VLLMEngine'\n", "line 2: generator.model_id: missing; it is required"),
    ],
)
def test_mistakes_say_where_what_and_what_instead(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text, "c.toml")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_several_mistakes_are_several_lines() -> None:
    with pytest.raises(ConfigError) as caught:
        parse("edition = 1\n[generator]\ntype = 'GPT'\nmodel_id = ''\n", "c.toml")
    assert len(str(caught.value).splitlines()) == 2
