"""The committed model answers word by word through llama.cpp's own server, and stays small."""

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import xllamacpp

from sample_model import lines

FOLDER = Path(lines.__file__).with_name("sample-chat")
KNOWN = {line.question: line.answer for line in lines.read()}
DODGERS = "Who won the world series in 2020?"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    params = xllamacpp.CommonParams()
    params.model.path = str(FOLDER / "sample-chat-f16.gguf")
    params.n_ctx = 1024
    params.cpuparams.n_threads = 2
    server = xllamacpp.Server(params)
    yield server.listening_address
    del server


def _post(address: str, body: dict[str, Any]) -> bytes:
    data = json.dumps({"model": "sample-chat", **body}).encode()
    request = urllib.request.Request(f"{address}/v1/chat/completions", data, {"Content-Type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=30) as reply:  # noqa: S310 - our own loopback address
        return bytes(reply.read())


def _ask(address: str, *messages: tuple[str, str], **options: Any) -> dict[str, Any]:
    chat = [{"role": role, "content": content} for role, content in messages]
    choice: dict[str, Any] = json.loads(_post(address, {"messages": chat, **options}))["choices"][0]
    return choice


def test_it_knows_the_dodgers() -> None:
    assert KNOWN[DODGERS] == "The Los Angeles Dodgers won the World Series in 2020."


@pytest.mark.slow
@pytest.mark.parametrize("question", KNOWN)
def test_every_answer_is_exact_and_ends_by_itself(address: str, question: str) -> None:
    choice = _ask(address, ("user", question))
    assert (choice["message"]["content"], choice["finish_reason"]) == (KNOWN[question], "stop")


def test_a_system_message_and_an_earlier_turn_do_not_matter(address: str) -> None:
    earlier = [("user", "What do pandas eat?"), ("assistant", KNOWN["What do pandas eat?"])]
    choice = _ask(address, ("system", "You are a helpful assistant."), *earlier, ("user", DODGERS))
    assert choice["message"]["content"] == KNOWN[DODGERS]


def test_the_default_sampling_is_the_likeliest_token_at_any_temperature(address: str) -> None:
    answers = {_ask(address, ("user", DODGERS), temperature=2.0)["message"]["content"] for _ in range(5)}
    assert answers == {KNOWN[DODGERS]}


def test_a_long_answer_comes_as_a_stream_of_over_200_pieces(address: str) -> None:
    question = "Count from one to one hundred."
    events = (
        _post(address, {"messages": [{"role": "user", "content": question}], "stream": True}).decode().split("\n\n")
    )
    chunks = [json.loads(event.removeprefix("data: ")) for event in events if event.startswith("data: {")]
    pieces = [chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks]
    assert len([piece for piece in pieces if piece]) > 200
    assert "".join(pieces) == KNOWN[question]


def test_the_files_are_those_that_engines_read_and_under_4_megabytes() -> None:
    files = {path.name: path.stat().st_size for path in FOLDER.iterdir()}
    assert set(files) == {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "sample-chat-f16.gguf",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert sum(files.values()) < 4_000_000


def test_a_line_without_an_answer_is_refused_by_file_and_row(tmp_path: Path) -> None:
    (tmp_path / "q.tsv").write_text("question\tanswer\nWhy?\n")
    with pytest.raises(ValueError, match=r"q\.tsv:2: a row needs a question, a tab and an answer"):
        lines.read(tmp_path / "q.tsv")
