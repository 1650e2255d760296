"""The store with real servers: what lands where, what is reused, what is refused."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import obstore
import pytest
from awscrt import checksums
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from tests.store import servers
from tests.store.conftest import MIB, nothing
from tests.store.servers import content

from headrace_api.worker_config import ExtraFiles, GcsMirror, Generator, S3Mirror
from headrace_worker.store import request as requests
from headrace_worker.store.address import Address
from headrace_worker.store.buckets import Access, Bucket
from headrace_worker.store.errors import StoreError
from headrace_worker.store.fetch import Fetched, fetch
from headrace_worker.store.files import RemoteFile
from headrace_worker.store.layout import NO_HASH
from headrace_worker.store.progress import Progress
from headrace_worker.store.request import StoreRequest
from headrace_worker.store.settings import StoreSettings

pytestmark = pytest.mark.slow

Make = Callable[..., StoreSettings]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def mirrored(uri: str, model_id: str = "org/model", **mirror: object) -> StoreRequest:
    section = {"type": "VLLMEngine", "model_id": model_id, "s3_mirror_config": {"bucket_uri": uri, **mirror}}
    return requests.of_generator(Generator.model_validate(section)).model


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def got(request: StoreRequest, settings: StoreSettings) -> Fetched:
    return await fetch(request, settings, nothing)


@pytest.mark.parametrize("part", [0, 5 * MIB, 7 * MIB])
async def test_a_mirror_lands_as_a_snapshot_of_the_hub_cache(s3: servers.S3, settings: Make, part: int) -> None:
    files = {"config.json": b"{}", "model.safetensors": content(11 * MIB + 7, part), "sub/empty": b""}
    s3.put("models", {f"land{part}/{name}": data for name, data in files.items()}, part)
    s3.put("models", {f"land{part}/hash": f"{COMMIT}\n".encode()})
    progress: list[Progress] = []

    found = await fetch(mirrored(f"s3://models/land{part}/"), settings(s3_endpoint=s3.url), progress.append)

    cache = settings().cache
    assert found.path == cache / "models--org--model" / "snapshots" / COMMIT
    assert tree(found.path) == files
    assert (cache / "models--org--model/refs/main").read_text() == COMMIT
    assert progress[-1].done_bytes == progress[-1].total_bytes == sum(map(len, files.values()))


async def test_without_a_hash_file_the_snapshot_is_forty_zeros_and_follows_the_bucket(
    s3: servers.S3, settings: Make
) -> None:
    s3.put("models", {"zeros/a": b"first", "zeros/b": b"same"})
    request, env = mirrored("s3://models/zeros"), settings(s3_endpoint=s3.url)
    first = await got(request, env)
    inode = (first.path / "b").stat().st_ino
    first.close()
    s3.put("models", {"zeros/a": b"second"})

    second = await got(request, env)

    assert second.path == first.path
    assert second.path.name == NO_HASH
    assert tree(second.path) == {"a": b"second", "b": b"same"}
    assert (second.path / "b").stat().st_ino == inode  # not fetched again


@pytest.mark.parametrize("served", [False, True])
async def test_files_that_were_deleted_at_their_source_are_not_served(
    s3: servers.S3, settings: Make, served: bool
) -> None:
    """Two shards and their index, exported again as one file: vLLM would go by the index."""
    request, env = mirrored(f"s3://models/shards{served}"), settings(s3_endpoint=s3.url)
    old = {"config.json": b"{}", "model.safetensors.index.json": b"{}", "model-1.safetensors": b"1"}
    s3.put("models", {f"shards{served}/{name}": data for name, data in old.items()})
    first = await got(request, env)
    if not served:
        first.close()
    for name in list(old)[1:]:
        (s3.root / f"models/shards{served}/{name}").unlink()
    s3.put("models", {f"shards{served}/model.safetensors": b"new"})

    second = await got(request, env)

    assert tree(second.path) == {"config.json": b"{}", "model.safetensors": b"new"}
    assert (tree(first.path) == old) is served
    (s3.root / f"models/shards{served}/config.json").unlink()
    assert tree((await got(request, env)).path) == {"model.safetensors": b"new"}


async def test_files_under_a_worker_that_serves_them_do_not_change(s3: servers.S3, settings: Make) -> None:
    s3.put("models", {"held/a": b"first"})
    request, env = mirrored("s3://models/held"), settings(s3_endpoint=s3.url)
    first = await got(request, env)
    s3.put("models", {"held/a": b"second"})

    second = await got(request, env)

    assert tree(first.path) == {"a": b"first"}
    assert tree(second.path) == {"a": b"second"}
    assert (second.path.parents[1] / "refs/main").read_text() == second.path.name


async def test_what_is_there_is_not_fetched_again(s3: servers.S3, settings: Make) -> None:
    s3.put("models", {"again/a": content(3 * MIB, 1)})
    proxy = servers.Proxy(s3.url, servers.Faults())
    async with proxy.running() as url:
        (await got(mirrored("s3://models/again"), settings(s3_endpoint=url))).close()
        assert sum("list-type" not in line for line in proxy.requests if line.startswith("GET")) == 3
        proxy.requests.clear()

        await got(mirrored("s3://models/again"), settings(s3_endpoint=url))

    assert [line for line in proxy.requests if "list-type" not in line] == []


async def test_sync_arguments_choose_files(s3: servers.S3, settings: Make) -> None:
    s3.put("models", {f"sync/{name}": b"x" for name in ("a.bin", "b.safetensors", "original/c.bin", "config.json")})
    arguments = ["--exclude", "*.bin", "--include", "original/*", "--exclude", "config.json"]

    found = await got(mirrored("s3://models/sync", s3_sync_args=arguments), settings(s3_endpoint=s3.url))

    assert sorted(tree(found.path)) == ["b.safetensors", "original/c.bin"]


async def test_objects_that_mark_folders_are_passed_over(s3: servers.S3, settings: Make) -> None:
    s3.put("models", {"marked/original/x.pth": b"x", "marked/a": b"a"})
    for name in ("marked", "marked/original"):
        s3.mark("models", name)

    found = await got(mirrored("s3://models/marked"), settings(s3_endpoint=s3.url))

    assert tree(found.path) == {"original/x.pth": b"x", "a": b"a"}


async def test_a_quantisation_names_the_file_in_a_mirror(s3: servers.S3, settings: Make) -> None:
    names = ["cool.Q4_K_M.gguf", "cool.Q8_0.gguf", "README.md"]
    s3.put("models", {f"gguf/{name}": name.encode() for name in names})

    found = await got(mirrored("s3://models/gguf", "TheBloke/CoolModelv2:Q4_K_M"), settings(s3_endpoint=s3.url))

    assert found.path.name == "cool.Q4_K_M.gguf"
    assert tree(found.path.parent) == {"cool.Q4_K_M.gguf": b"cool.Q4_K_M.gguf"}
    assert found.path.parents[2].name == "models--TheBloke--CoolModelv2"
    other = await got(mirrored("s3://models/gguf", "TheBloke/CoolModelv2:Q8_0"), settings(s3_endpoint=s3.url))
    assert sorted(tree(other.path.parent)) == ["cool.Q4_K_M.gguf", "cool.Q8_0.gguf"]


async def test_extra_files_go_where_they_are_wanted(s3: servers.S3, settings: Make, tmp_path: Path) -> None:
    s3.put("models", {"extra/x/y.txt": b"y", "extra/z": b"z"})
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "own").write_bytes(b"mine")
    env = settings(s3_endpoint=s3.url)

    for _ in range(2):
        found = await got(extra_files("s3://models/extra", tmp_path / "to"), env)
        assert found.path == tmp_path / "to"
        assert extra_tree(found.path) == {"x/y.txt": b"y", "z": b"z", "own": b"mine"}


def extra_tree(folder: Path) -> dict[str, bytes]:
    return {name: data for name, data in tree(folder).items() if not name.startswith(".headrace/")}


def extra_files(uri: str, to: Path) -> StoreRequest:
    mirror = S3Mirror(extra_files=[ExtraFiles(bucket_uri=uri, destination_path=str(to))])
    generator = Generator(type="VLLMEngine", model_id="org/model", s3_mirror_config=mirror)
    return requests.of_generator(generator).extra_files[0]


def enter_pod(to: Path, pod: str) -> None:
    """Each pod has a volume of its own at this path."""
    volume = to.with_name(pod)
    volume.mkdir(exist_ok=True)
    to.unlink(missing_ok=True)
    to.symlink_to(volume)


async def test_each_pod_has_its_own_record_of_extra_files(s3: servers.S3, settings: Make, tmp_path: Path) -> None:
    request, env, to = extra_files("s3://models/pods", tmp_path / "to"), settings(s3_endpoint=s3.url), tmp_path / "to"
    for pod, content_now in (("a", b"1"), ("b", b"2"), ("a", b"2")):
        s3.put("models", {"pods/x": content_now})
        enter_pod(to, pod)
        (await got(request, env)).close()
        assert extra_tree(to) == {"x": content_now}


async def test_each_pod_goes_on_with_what_it_has_of_extra_files(s3: servers.S3, settings: Make, tmp_path: Path) -> None:
    data, to = content(6 * MIB, 1), tmp_path / "to"
    s3.put("models", {"begun/x": data}, 5 * MIB)
    proxy = servers.Proxy(s3.url, servers.Faults())
    async with proxy.running() as url:
        request = extra_files("s3://models/begun", to)
        env = settings(s3_endpoint=url, read_timeout_s=60.0)  # for those that the proxy does not let through
        for pod, chunks in (("a", 1), ("b", 3)):
            enter_pod(to, pod)
            proxy.let_through(chunks)
            await cancelled_after(request, env, chunks * MIB)
        proxy.open.set()
        enter_pod(to, "a")
        await got(request, env)

    assert extra_tree(to) == {"x": data}


async def cancelled_after(request: StoreRequest, settings: StoreSettings, size: int) -> None:
    far = asyncio.Event()
    task = asyncio.create_task(
        fetch(request, settings, lambda progress: far.set() if progress.done_bytes >= size else None)
    )
    reached = asyncio.create_task(far.wait())
    await asyncio.wait({task, reached}, return_when=asyncio.FIRST_COMPLETED)
    assert reached.done(), task
    task.cancel()
    await asyncio.wait({task})


@pytest.mark.parametrize("anonymous", [False, True])
async def test_a_mirror_in_google_cloud_storage(
    gcs: servers.Gcs, settings: Make, monkeypatch: pytest.MonkeyPatch, anonymous: bool
) -> None:
    files = {"config.json": b"{}", "model file.safetensors": content(3 * MIB + 1, 5)}
    gcs.put("models", {f"m/{name}": data for name, data in files.items()} | {"m/hash": COMMIT.encode()})
    at = "anonymous@" if anonymous else ""
    account = {
        "gcs_base_url": gcs.url,
        "disable_oauth": True,
        "client_email": "",
        "private_key": "",
        "private_key_id": "",
    }
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", json.dumps(account))
    mirror = GcsMirror(bucket_uri=f"gs://{at}models/m/")
    section = Generator(type="VLLMEngine", model_id="org/gcs", gcs_mirror_config=mirror)

    found = await got(requests.of_generator(section).model, settings(gcs_endpoint=gcs.url))

    assert found.path.name == COMMIT
    assert tree(found.path) == files


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("s3://models/nothing-here/", "NoSuchKey"),
        ("s3://no-such-bucket/x/", "NoSuchBucket"),
        ("s3://anonymous@models/land0/", "AccessDenied"),
    ],
)
async def test_a_place_that_cannot_be_had_is_named(s3: servers.S3, settings: Make, uri: str, says: str) -> None:
    s3.bucket("models")
    with pytest.raises(StoreError, match=says) as raised:
        await got(mirrored(uri), settings(s3_endpoint=s3.url))
    assert uri.replace("anonymous@", "").rstrip("/") in str(raised.value)


class AnotherRegion(servers.Proxy):
    """Answers what S3 does to who asks for a bucket in another region (`PermanentRedirect` of its list of errors)."""

    def __init__(self, target: str, region: str) -> None:
        super().__init__(target, servers.Faults())
        self._region = region

    async def _answer(self, head: bytes, writer: asyncio.StreamWriter) -> None:
        if b"/us-east-1/s3/" in head.replace(b"%2F", b"/"):  # keys are shown in a header, or in the address
            return await super()._answer(head, writer)
        self.requests.append(head.split(b"\r\n", 1)[0].decode())
        told = f"x-amz-bucket-region: {self._region}\r\n" if self._region else ""
        writer.write(f"HTTP/1.1 301 Moved\r\n{told}Content-Length: 0\r\nConnection: close\r\n\r\n".encode())
        return await writer.drain()


@pytest.mark.parametrize("region", ["us-east-1", "", "eu-north-1"])
async def test_a_wrong_region_is_corrected(s3: servers.S3, settings: Make, region: str) -> None:
    s3.put("models", {"moved/a": b"x"})
    proxy = AnotherRegion(s3.url, region)
    request = mirrored("s3://models/moved", s3_sync_args=["--region", "eu-west-1"])
    async with proxy.running() as url:
        if region == "us-east-1":
            assert tree((await got(request, settings(s3_endpoint=url))).path) == {"a": b"x"}
            return
        with pytest.raises(StoreError, match=r"s3://models/moved: .*another region.*set --region"):
            await got(request, settings(s3_endpoint=url))
    assert len(proxy.requests) == (2 if not region else 3)  # asked, asked where it is, and asked there once


async def test_a_disk_that_is_too_small_is_told_before(s3: servers.S3, settings: Make) -> None:
    s3.put("models", {"large/a": content(2 * MIB, 1)})
    with pytest.raises(StoreError, match=r"not enough free disk space .* 2\.0 MiB needed"):
        await got(mirrored("s3://models/large"), settings(s3_endpoint=s3.url, limit_bytes=MIB))


async def test_the_least_recently_used_snapshot_makes_room(s3: servers.S3, settings: Make) -> None:
    for name in ("one", "two", "three"):
        s3.put("models", {f"lru/{name}/a": content(2 * MIB, 1)})
    env = settings(s3_endpoint=s3.url, limit_bytes=5 * MIB)
    held = await got(mirrored("s3://models/lru/one", "lru/one"), env)
    (await got(mirrored("s3://models/lru/two", "lru/two"), env)).close()

    await got(mirrored("s3://models/lru/three", "lru/three"), env)

    there = {path.parents[1].name for path in env.cache.glob("models--*/snapshots/*")}
    assert there == {"models--lru--one", "models--lru--three"}  # two was used later, but one is held
    assert tree(held.path)["a"] == content(2 * MIB, 1)


async def test_a_bucket_that_does_not_answer_leaves_what_was_fetched_earlier(s3: servers.S3, settings: Make) -> None:
    s3.put("models", {"away/a": b"x"})
    request = mirrored("s3://models/away", "org/away")
    first = await got(request, settings(s3_endpoint=s3.url))
    nowhere = settings(s3_endpoint=f"http://127.0.0.1:{servers.free_port()}")

    assert (await got(request, nowhere)).path == first.path
    with pytest.raises(StoreError, match="s3://models/other"):
        await got(mirrored("s3://models/other", "org/away"), nowhere)


async def test_a_file_that_is_not_what_its_etag_says_is_refused(s3: servers.S3, settings: Make) -> None:
    s3.put("models", {"corrupt/a": content(MIB, 1)})
    (s3.root / "models/corrupt/a").write_bytes(content(MIB, 2))  # the ETag is an attribute of the file

    with pytest.raises(StoreError, match="checksum mismatch"):
        await got(mirrored("s3://models/corrupt"), settings(s3_endpoint=s3.url))

    assert not list(settings().cache.glob("models--*/snapshots/*"))


async def test_parts_of_an_unknown_size_are_believed_when_two_downloads_are_equal(
    s3: servers.S3, settings: Make
) -> None:
    store, data = s3.bucket("models"), content(12 * MIB, 3)
    obstore.put(store, "odd/a", data, use_multipart=True, chunk_size=5 * MIB + 17)

    proxy = servers.Proxy(s3.url, servers.Faults())
    proxy.answers_head = False
    async with proxy.running() as url:
        found = await got(mirrored("s3://models/odd"), settings(s3_endpoint=url))

    assert tree(found.path) == {"a": data}
    assert proxy.bytes_sent > 2 * len(data)


@pytest.mark.parametrize("part", [0, 5 * MIB + 17])
async def test_the_servers_checksum_tells_at_once_whether_a_file_is_right(
    s3: servers.S3, settings: Make, part: int
) -> None:
    data = content(12 * MIB, part)
    s3.put("models", {f"crc{part}/a": data}, part)
    proxy = servers.Proxy(s3.url, servers.Faults())
    async with proxy.running() as url:
        found = await got(mirrored(f"s3://models/crc{part}"), settings(s3_endpoint=url))

    assert tree(found.path) == {"a": data}
    assert len(data) < proxy.bytes_sent < len(data) + MIB
    manifest = json.loads((settings().cache / f".headrace/models--org--model/{NO_HASH}.json").read_text())
    assert manifest["files"][0]["checksum"].startswith("crc64nvme:")


@pytest.mark.parametrize("anonymous", [False, True])
async def test_google_cloud_storage_tells_the_crc(gcs: servers.Gcs, settings: Make, anonymous: bool) -> None:
    data = content(MIB, 6)
    gcs.put("models", {"crc/a b": data})
    where = Address("gs", "models", "crc", anonymous)
    env = settings(gcs_endpoint=gcs.url, environment={"GOOGLE_SERVICE_ACCOUNT_KEY": account(gcs.url)})
    bucket = Bucket(where, Access(env))

    found = await bucket.described(RemoteFile("a b", len(data), key="crc/a b"))

    assert found.checksum == f"crc32c:{checksums.crc32c(data):08x}"


def account(url: str) -> str:
    """A service account whose key signs."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    return json.dumps({"gcs_base_url": url, "client_email": "a@b", "private_key": pem, "private_key_id": "1"})
