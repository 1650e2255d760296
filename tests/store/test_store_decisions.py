"""What the store decides, without network or disk."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import md5
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from obstore.exceptions import InvalidPathError

from headrace_api import s3_sync, sources
from headrace_api.worker_config import Generator
from headrace_worker.settings import SettingsError
from headrace_worker.store import (
    chunks,
    crc,
    digests,
    eviction,
    files,
    headers,
    layout,
    request,
    settings,
    source,
    verify,
)
from headrace_worker.store.errors import AttemptError, StoreError, failure
from headrace_worker.store.eviction import Kept
from headrace_worker.store.files import RemoteFile
from headrace_worker.store.manifest import Manifest
from headrace_worker.store.retry import Retries, again
from headrace_worker.store.snapshot import Listed, step_for
from headrace_worker.store.streaming import Streamed, streamed

MIB = 2**20


@pytest.mark.parametrize(
    ("arguments", "name", "included"),
    [
        ([], "a", True),
        (["--exclude", "*"], "a", False),
        (["--exclude", "*", "--include", "*.json"], "x/config.json", True),
        (["--include", "*.json", "--exclude", "*"], "config.json", False),  # the later wins
        (["--exclude=*.bin"], "sub/a.bin", False),
        (["--exclude", "[!a]*"], "a", True),
        (["--exclude", "A*"], "a", True),
    ],
)
def test_filters_apply_in_their_order(arguments: list[str], name: str, included: bool) -> None:
    assert s3_sync.parse(arguments).includes(name) is included


def test_sync_arguments_that_say_where_and_how() -> None:
    parsed = s3_sync.parse(["--no-sign-request", "--region", "eu-west-1", "--endpoint-url=http://x", "--quiet"])
    assert (parsed.anonymous, parsed.region, parsed.endpoint_url, parsed.ignored) == (
        True,
        "eu-west-1",
        "http://x",
        ("--quiet",),
    )


@pytest.mark.parametrize("arguments", [["--acl", "private"], ["--region"], ["x"], ["--request-payer", "me"]])
def test_other_sync_arguments_are_refused_by_name(arguments: list[str]) -> None:
    with pytest.raises(ValueError, match=f"'{arguments[0]}.*is not accepted"):
        s3_sync.parse(arguments)


@pytest.mark.parametrize(
    ("text", "kind", "quant"),
    [
        ("/models/a", "path", None),
        ("./a", "path", None),
        ("/models/a:Q4_K_M", "path", "Q4_K_M"),
        ("here", "path", None),
        ("org/model", "hub", None),
        ("org/model:Q4_K_M", "hub", "Q4_K_M"),
        ("gpt2", "hub", None),
        ("org/model@v1:Q4_K_M", "hub", "Q4_K_M"),
        ("s3://bucket/a:b", "bucket", None),
        ("gs://anonymous@bucket", "bucket", None),
    ],
)
def test_sources_are_told_apart(text: str, kind: str, quant: str | None) -> None:
    found = source.understand(text, exists=lambda path: path == "here")
    assert (found.kind, found.quant) == (kind, quant)


@given(st.from_regex(r"(/|s3://|gs://|org/|)[-A-Za-z0-9@/._: ]{0,12}", fullmatch=True))
@example("s3://b@c")
@example("org/.hidden")
@example("org/lora@v1/2")
def test_what_the_rules_accept_the_worker_understands(text: str) -> None:
    if sources.is_source(text):
        source.understand(text, exists=lambda _: False)


@pytest.mark.parametrize("text", ["", "a/b/c", "a b", "https://x/y", "org/"])
def test_other_sources_are_refused(text: str) -> None:
    with pytest.raises(StoreError, match="accepted: a path"):
        source.understand(text, exists=lambda _: False)


@pytest.mark.parametrize("name", ["../a", "a/../../b", "/etc/passwd", "a//b", "."])
def test_names_that_lead_out_of_the_folder_are_refused(name: str) -> None:
    with pytest.raises(StoreError, match="cannot be in a folder"):
        files.of_mirror([RemoteFile(name, 1)], s3_sync.SyncArguments(), None)


def test_a_file_and_a_folder_of_one_name_are_refused() -> None:
    with pytest.raises(StoreError, match="named as its folder"):
        files.of_mirror([RemoteFile("a", 1), RemoteFile("a/b", 1)], s3_sync.SyncArguments(), None)


def test_an_object_that_only_marks_a_folder_is_no_file() -> None:
    listed = [RemoteFile("a", 0), RemoteFile("a/b", 0), RemoteFile("a/b/c", 1), RemoteFile("d", 0)]
    assert [one.name for one in files.of_mirror(listed, s3_sync.SyncArguments(), None)] == ["a/b/c", "d"]


def test_a_hub_repository_without_safetensors_is_fetched_whole() -> None:
    names = ["config.json", "pytorch_model.bin", "onnx/model.onnx"]
    assert [one.name for one in files.of_hub([RemoteFile(name, 1) for name in names], None)] == sorted(names)


@pytest.mark.parametrize(("text", "name"), [(None, layout.NO_HASH), (" \n", layout.NO_HASH), ("abc\n", "abc")])
def test_the_hash_file_names_the_snapshot(text: str | None, name: str) -> None:
    assert layout.snapshot_hash(text, "s3://b") == name


@pytest.mark.parametrize("text", ["../x", "a b", "a/b", ".", "x" * 200])
def test_a_hash_that_names_no_folder_is_refused(text: str) -> None:
    with pytest.raises(StoreError, match="cannot name a folder"):
        layout.snapshot_hash(text, "s3://b")


FILE = RemoteFile("a", 10 * MIB + 1, "etag")


@given(st.sets(st.integers(0, 20)), st.booleans())
def test_a_journal_says_what_is_there(done: set[int], verified: bool) -> None:
    text = chunks.header(FILE, MIB) + "".join(chunks.line(number, "ab") for number in done)
    text += chunks.line(chunks.VERIFIED) if verified else ""
    state = chunks.read(text, FILE, MIB)
    assert state is not None
    assert state.done == {number for number in done if number < 11}
    missing = chunks.missing(FILE.size, MIB, state)
    assert missing == ([] if verified else sorted(set(range(11)) - done))
    assert chunks.done_bytes(FILE.size, MIB, set(range(11))) == FILE.size


@given(st.integers(0, 200))
def test_a_journal_that_was_cut_off_promises_nothing_more(length: int) -> None:
    text = chunks.header(FILE, MIB) + chunks.line(1) + chunks.line(10)
    state = chunks.read(text[:length], FILE, MIB)
    assert state is None or state.done <= {1, 10}
    if length < len(text):
        assert state is None or state.done != {1, 10}


def test_a_journal_of_another_object_counts_for_nothing() -> None:
    text = chunks.header(FILE, MIB) + chunks.line(1)
    for other in (RemoteFile("a", FILE.size, "new"), RemoteFile("a", 5, "etag"), RemoteFile("b", FILE.size, "etag")):
        assert chunks.read(text, other, MIB) is None
    assert chunks.read(text, FILE, 2 * MIB) is None


def test_what_a_journal_has_from_before_the_machine_went_down_is_there_but_not_sure() -> None:
    text = chunks.header(FILE, MIB) + chunks.line(chunks.BOOT, "1") + chunks.line(1, "md5:ab")
    again = text + chunks.line(chunks.BOOT, "2") + chunks.line(2, "md5:cd")
    assert chunks.read(text, FILE, MIB, "1") == chunks.State(frozenset({1}), {1: "md5:ab"})
    assert chunks.read(text, FILE, MIB, "2") == chunks.State(frozenset({1}), sure=False)
    assert chunks.read(again, FILE, MIB, "2") == chunks.State(frozenset({1, 2}), {2: "md5:cd"})
    right = chunks.read(text + chunks.line(chunks.VERIFIED), FILE, MIB, "2")
    assert right
    assert not right.verified


@given(st.binary(max_size=200), st.integers(1, 60), st.sampled_from(crc.NAMES))
def test_the_crc_of_a_file_is_made_from_those_of_its_chunks(data: bytes, chunk: int, name: crc.Name) -> None:
    check = verify.Check(name, crc.digest(name, crc.update(name, data)))
    parts = [data[start : start + chunk] for start in range(0, len(data), chunk)]
    texts = []
    for part in parts:
        made = digests.Digest(digests.name_for(check, chunk))
        made.update(part[:10])
        made.update(part[10:])
        texts.append(made.text())
    assert digests.joined(check, texts, list(map(len, parts))) == check.digest


@given(st.binary(min_size=1, max_size=200), st.integers(1, 30), st.integers(4, 60), st.integers(0, 60))
def test_the_md5_of_parts_is_made_from_chunks_of_whole_parts(data: bytes, part: int, usual: int, cut: int) -> None:
    whole = b"".join(md5(data[start : start + part]).digest() for start in range(0, len(data), part))  # noqa: S324
    check = verify.Check("parts", md5(whole).digest(), (part,))  # noqa: S324
    size = chunks.size_for(part, usual)
    texts = []
    for start in range(0, len(data), size):
        made = digests.Digest(digests.name_for(check, size), part)
        made.update(data[start : start + size][:cut])
        made.update(data[start : start + size][cut:])
        texts.append(made.text())
    assert digests.joined(check, texts, []) == check.digest


@pytest.mark.parametrize(
    ("name", "check"), [("crc32", "cbf43926"), ("crc32c", "e3069283"), ("crc64nvme", "ae8b14860a799888")]
)
def test_crcs_are_those_of_the_catalogue(name: crc.Name, check: str) -> None:
    assert crc.digest(name, crc.update(name, b"123456789")).hex() == check


@pytest.mark.parametrize(
    ("told", "checksum"),
    [
        ({}, ""),
        ({"x-amz-checksum-crc32c": "4waSgw==", "x-amz-checksum-type": "FULL_OBJECT"}, "crc32c:e3069283"),
        (
            {"x-amz-checksum-crc32c": "4waSgw==", "x-amz-checksum-crc64nvme": "rosUhgp5mIg="},
            "crc64nvme:ae8b14860a799888",
        ),
        ({"x-amz-checksum-crc32c": "4waSgw==-3"}, ""),  # of parts
        ({"x-amz-checksum-crc32c": "not base64"}, ""),
        ({"x-amz-server-side-encryption": "aws:kms"}, "none:"),
        ({"x-amz-server-side-encryption": "AES256"}, ""),
        ({"x-amz-server-side-encryption": "aws:kms", "x-amz-checksum-crc32": "y/Q5Jg=="}, "crc32:cbf43926"),
        ({"x-goog-hash": "crc32c=4waSgw==,md5=XrY7u+Ae7tCTyyK7j1rNww=="}, "crc32c:e3069283"),
        ({"x-goog-hash": "md5=XrY7u+Ae7tCTyyK7j1rNww=="}, "md5:5eb63bbbe01eeed093cb22bb8f5acdc3"),
    ],
)
def test_what_headers_tell_of_the_content(told: dict[str, str], checksum: str) -> None:
    assert headers.checksum(told) == checksum


OLD = Manifest("s3://b", (RemoteFile("a", 1, "1"), RemoteFile("b", 1, "1")))


@pytest.mark.parametrize(
    ("wanted", "known", "held", "does", "name"),
    [
        ("a1", None, False, "make", "h"),
        ("a1 b1", OLD, True, "reuse", "h"),
        ("a1 (b)", OLD, False, "reuse", "h"),
        ("a1 c1 (b)", OLD, True, "add", "h"),
        ("a2 b1", OLD, False, "make", "h"),
        ("a2 b1", OLD, True, "make", None),
        ("a1", OLD, False, "make", "h"),  # b is gone
        ("a1 c1", OLD, False, "make", "h"),
        ("a1", OLD, True, "make", None),
        ("a1 c1", replace(OLD, source="another"), False, "add", "h"),
        ("a1", replace(OLD, source="another"), False, "reuse", "h"),
    ],
)
def test_what_is_done_about_a_snapshot(
    wanted: str, known: Manifest | None, held: bool, does: str, name: str | None
) -> None:
    """Each word is a file and its ETag; in brackets, one that is there but not wanted."""
    there = wanted.split()
    chosen = [RemoteFile(word[0], 1, word[1]) for word in there if "(" not in word]
    listed = Listed("s3://b", "h", chosen, frozenset(word.strip("()")[0] for word in there))
    step = step_for(listed, "h", known, held=held)
    assert (step.does, step.name) == (does, name or layout.content_hash(chosen))


def test_without_a_hash_a_snapshot_of_another_place_is_not_what_is_wanted() -> None:
    listed = Listed("s3://b", layout.NO_HASH, [RemoteFile("a", 1, "1")], frozenset("a"))
    assert step_for(listed, layout.NO_HASH, replace(OLD, source="s3://old"), held=False).does == "make"


def kept(name: str, size: int, used: float, held: bool = False) -> Kept:
    return Kept("models--o--m", name, size, used, held)


def test_the_least_recently_used_go_first_and_none_that_is_held() -> None:
    there = [kept("old", 10, 1), kept("held", 10, 0, held=True), kept("new", 10, 2)]
    chosen = eviction.to_evict(there, needed_bytes=10, free_bytes=100, limit_bytes=30, place="/c")
    assert [one.name for one in chosen] == ["old"]
    chosen = eviction.to_evict(there, needed_bytes=20, free_bytes=5, limit_bytes=40, place="/c")
    assert [one.name for one in chosen] == ["old", "new"]


def test_without_a_limit_nothing_goes() -> None:
    assert eviction.to_evict([kept("a", 10, 1)], needed_bytes=5, free_bytes=5, limit_bytes=None, place="/c") == []
    with pytest.raises(StoreError, match=r"not enough free disk space in /c: 6\.0 GiB needed, 5\.0 MiB free"):
        eviction.to_evict([], needed_bytes=6 * 2**30, free_bytes=5 * MIB, limit_bytes=None, place="/c")


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 9), st.booleans()), max_size=8),
    st.integers(0, 60),
    st.integers(0, 100),
    st.integers(1, 100),
)
def test_what_is_evicted_is_enough_and_not_too_much(
    there: list[tuple[int, int, bool]], needed: int, free: int, limit: int
) -> None:
    everything = [kept(str(number), *one) for number, one in enumerate(there)]
    try:
        chosen = eviction.to_evict(everything, needed_bytes=needed, free_bytes=free, limit_bytes=limit, place="/c")
    except StoreError:
        gone = sum(one.size_bytes for one in everything if not one.held)
        left = sum(one.size_bytes for one in everything if one.held)
        assert needed
        assert left + needed > limit or free + gone < needed
        return
    assert not any(one.held for one in chosen)
    for enough in (chosen, chosen[:-1]):
        freed = sum(one.size_bytes for one in enough)
        fits = sum(one.size_bytes for one in everything) - freed + needed <= limit and free + freed >= needed
        assert needed == 0 or fits == (enough == chosen) or not chosen


@pytest.mark.parametrize("part", [8 * MIB, 5 * MIB, 8 * 1000**2, 12 * MIB])
def test_the_etag_of_parts_is_checked(tmp_path: Path, part: int) -> None:
    data = bytes(range(256)) * (5 * part // 512)  # two and a half parts
    path = tmp_path / "a"
    path.write_bytes(data)
    digests = [md5(data[start : start + part], usedforsecurity=False).digest() for start in range(0, len(data), part)]
    etag = f"{md5(b''.join(digests), usedforsecurity=False).hexdigest()}-{len(digests)}"
    with ThreadPoolExecutor(2) as pool:
        check = verify.check_for(etag, len(data))
        assert verify.verify(path, check, pool).right
        path.write_bytes(data[:-1] + b"x")
        assert not verify.verify(path, check, pool).right


@pytest.mark.parametrize(
    ("etag", "algorithm"),
    [
        ("0" * 32, "md5"),
        ("XrY7u+Ae7tCTyyK7j1rNww==", "md5"),
        ("0" * 40, "git"),
        ("0" * 64, "sha256"),
        ("-CKicn4fknd8CEAE=", "none"),
        ("", "none"),
        (f"{'0' * 32}-3", "parts"),
    ],
)
def test_what_an_etag_is(etag: str, algorithm: str) -> None:
    assert verify.check_for(etag, 20 * MIB).algorithm == algorithm


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("x status code: 503 Slow", "passing"),
        ("x status code: 403 Forbidden", "forbidden"),
        ("x status code: 404 Not Found", "missing"),
        ("x status code: 412 Precondition Failed", "changed"),
        ("x status code: 400 Bad Request", "final"),
        ("error sending request", "passing"),
    ],
)
def test_failures_are_sorted(text: str, kind: str) -> None:
    assert failure(RuntimeError(text)).kind == kind


def test_a_key_that_cannot_be_a_path_is_not_asked_for_again() -> None:
    error = InvalidPathError('Path "m//x" contained empty path segment')
    assert failure(error) == AttemptError("final", str(error))


def test_a_bucket_in_another_region_says_so() -> None:
    said = "the region 'us-east-1' is wrong; expecting 'eu-west-1'"
    text = f"status code: 400: <Code>AuthorizationHeaderMalformed</Code><Message>{said}</Message>"
    found = failure(RuntimeError(f"{text}<Region>eu-west-1</Region>"))
    assert found == AttemptError("final", f"400 AuthorizationHeaderMalformed: {said}", "eu-west-1")


def test_attempts_are_bounded() -> None:
    retries = Retries(attempts=3, forbidden=2)
    assert again(["passing", "passing"], retries)
    assert not again(["passing"] * 3, retries)
    assert not again(["forbidden", "forbidden"], retries)
    assert not again(["missing"], retries)
    assert list(retries.waits(lambda: 1.0)) == [0.5, 1.0]


@pytest.mark.parametrize(
    ("section", "place", "name"),
    [
        ({"model_id": "o/m", "gcs_mirror_config": {"bucket_uri": "gs://b/f"}}, "gs://b/f", "o/m"),
        (
            {"model_id": "name", "hf_model_id": "o/m:Q4", "gcs_mirror_config": {"bucket_uri": "gs://b/f"}},
            "gs://b/f",
            "o/m",
        ),
        ({"model_id": "o/m", "s3_mirror_config": {"extra_files": []}}, "o/m", ""),
        ({"model_id": "o/m", "weight_set_directories": ["/w"]}, "/w", ""),
    ],
)
def test_what_a_section_asks_for(section: dict[str, object], place: str, name: str) -> None:
    asked = request.of_generator(Generator.model_validate({"type": "VLLMEngine", **section}), lambda _: False).model
    assert (asked.source.place, asked.name) == (place, name)


def test_vllm_streams_from_a_bucket_what_is_then_not_fetched() -> None:
    mirror = {"bucket_uri": "s3://b/f"}
    section = {"type": "VLLMEngine", "model_id": "o/m", "s3_mirror_config": mirror}
    plain = Generator.model_validate(section)
    streaming = Generator.model_validate({**section, "engine_kwargs": {"load-format": "runai_streamer"}})
    assert streams(plain) is None
    assert streams(streaming) == Streamed("s3://b/f", {})
    assert request.with_paths(streaming, "s3://b/f", None).source == "s3://b/f"


def streams(section: Generator, **environment: str) -> Streamed | None:
    asked = request.of_generator(section, lambda _: False).model
    return streamed(section, asked, settings.read(environment))


def streaming_from(mirror: dict[str, object], model_id: str = "o/m") -> Generator:
    kind = "gcs" if str(mirror["bucket_uri"]).startswith("gs") else "s3"
    section = {"type": "VLLMEngine", "model_id": model_id, f"{kind}_mirror_config": mirror}
    return Generator.model_validate({**section, "engine_kwargs": {"load_format": "runai_streamer"}})


def test_vllm_is_told_where_the_bucket_is() -> None:
    arguments = ["--endpoint-url", "http://minio:9000", "--region", "eu-west-1"]
    found = streams(streaming_from({"bucket_uri": "s3://b/f/", "s3_sync_args": arguments}), AWS_ENDPOINT_URL="http://x")
    assert found == Streamed(
        "s3://b/f",
        {
            "AWS_ENDPOINT_URL": "http://minio:9000",
            "AWS_REGION": "eu-west-1",
            "AWS_DEFAULT_REGION": "eu-west-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "RUNAI_STREAMER_S3_USE_VIRTUAL_ADDRESSING": "0",
        },
    )
    by_name = {"AWS_ENDPOINT_URL_S3": "http://s3", "RUNAI_STREAMER_S3_USE_VIRTUAL_ADDRESSING": "1"}
    found = streams(streaming_from({"bucket_uri": "s3://b/f"}), **by_name)
    assert found
    assert found.environment["AWS_ENDPOINT_URL"] == "http://s3"  # the only variable that vLLM reads
    assert found.environment["RUNAI_STREAMER_S3_USE_VIRTUAL_ADDRESSING"] == "1"
    assert streams(streaming_from({"bucket_uri": "gs://b/f"}), GOOGLE_APPLICATION_CREDENTIALS="/k") == Streamed(
        "gs://b/f", {}
    )


@pytest.mark.parametrize(
    ("mirror", "model_id", "environment", "says"),
    [
        ({"bucket_uri": "s3://b/f"}, "o/m:Q4_K_M", {}, "a quantisation"),
        ({"bucket_uri": "s3://b/f", "s3_sync_args": ["--exclude", "*.bin"]}, "o/m", {}, "--include or --exclude"),
        ({"bucket_uri": "s3://b/f", "s3_sync_args": ["--no-sign-request"]}, "o/m", {}, "without keys"),
        ({"bucket_uri": "gs://anonymous@b/f"}, "o/m", {}, "without keys"),
        (
            {"bucket_uri": "s3://b/f", "s3_aws_credentials": {"create_aws_credentials_url": "http://k"}},
            "o/m",
            {},
            "s3_aws_credentials",
        ),
        ({"bucket_uri": "gs://b/f"}, "o/m", {"GOOGLE_SERVICE_ACCOUNT_KEY": "{}"}, "GOOGLE_APPLICATION_CREDENTIALS"),
    ],
)
def test_what_vllm_cannot_stream_is_refused(
    mirror: dict[str, object], model_id: str, environment: dict[str, str], says: str
) -> None:
    with pytest.raises(StoreError, match=f"generator.engine_kwargs.load_format: 'runai_streamer' is not .*{says}"):
        streams(streaming_from(mirror, model_id), **environment)


@pytest.mark.parametrize(
    ("text", "size"), [("1", 1), ("500Gi", 500 * 2**30), ("1.5TB", 1_500_000_000_000), ("2 GiB", 2**31)]
)
def test_the_limit_of_the_cache_is_a_size(text: str, size: int) -> None:
    assert settings.read({"HEADRACE_MODEL_CACHE_LIMIT": text}).limit_bytes == size


@pytest.mark.parametrize("text", ["much", "0", "-1", "1 Xi"])
def test_other_limits_are_refused(text: str) -> None:
    with pytest.raises(SettingsError, match=r"HEADRACE_MODEL_CACHE_LIMIT: .* is not a size"):
        settings.read({"HEADRACE_MODEL_CACHE_LIMIT": text})


def test_a_path_that_this_user_may_not_look_at(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "exists", refuse)
    with pytest.raises(StoreError, match=r"^'/root/model' cannot be read: Permission denied; the worker's user has to"):
        source.understand("/root/model")


def test_a_path_that_is_too_long_for_a_file_is_none() -> None:
    with pytest.raises(StoreError, match="is neither a file nor a folder"):
        source.understand("a b" * 2000)
