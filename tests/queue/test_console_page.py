"""The console in a real Chromium, on a real queue."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import openai
import pytest
from queue_setup import DONE, PLAIN, Queue, Start, chunk, operator
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support import expected_conditions
from selenium.webdriver.support.ui import Select, WebDriverWait
from v1_worker import V1Worker

from headrace_api import wire
from headrace_api.load import Catalogue, ModelState, Starting
from headrace_queue.keys.settings import KeySettings
from toolbox import debian

pytestmark = pytest.mark.browser

ADMIN = "admin-key-of-the-test"
OWN = "hr-k1-secret-of-the-test"
KEYS = f"keys: [{{id: k1, key: {OWN}, models: [warm]}}]"
CAUSE = "asks for 2 nvidia.com/gpu, 0 are free <b>anywhere</b>"
USAGE = wire.Usage(prompt_tokens=5, completion_tokens=2, total_tokens=7)
T = TypeVar("T")


@pytest.fixture(scope="session")
def chromium() -> Iterator[webdriver.Chrome]:
    debian.ensure("chromium", "chromium-driver")
    options = webdriver.ChromeOptions()
    for option in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1300,1500"):
        options.add_argument(option)
    options.binary_location = "/usr/bin/chromium"
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService("/usr/bin/chromedriver"))
    yield driver
    driver.quit()


class Page:
    """The page, asked from threads, as the driver blocks and the queue runs on the loop."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self._driver = driver

    async def do(self, step: Callable[[webdriver.Chrome], T]) -> T:
        return await asyncio.to_thread(step, self._driver)

    async def open(self, url: str) -> None:
        await self.do(lambda driver: driver.get(url))

    async def complaints(self) -> list[str]:
        """What the browser has logged since this was asked last."""
        return [line["message"] for line in await self.do(lambda driver: driver.get_log("browser"))]

    async def use_key(self, key: str) -> None:
        def enter(driver: webdriver.Chrome) -> None:
            driver.find_element(By.ID, "key").send_keys(key)
            driver.find_element(By.CSS_SELECTOR, "#sign-in button").click()

        await self.do(enter)

    async def until(self, selector: str, *words: str) -> str:
        """The text of an element, once it has all of these words."""

        def text(driver: webdriver.Chrome) -> str:
            return driver.find_element(By.CSS_SELECTOR, selector).text

        def wait(driver: webdriver.Chrome) -> str:
            WebDriverWait(driver, 15).until(
                lambda _: all(word in text(driver) for word in words), f"{selector}: {words}"
            )
            return text(driver)

        return await self.do(wait)

    async def chat(self, model: str, message: str) -> None:
        def send(driver: webdriver.Chrome) -> None:
            Select(driver.find_element(By.ID, "chat-model")).select_by_value(model)
            driver.find_element(By.ID, "chat-text").send_keys(message)
            driver.find_element(By.ID, "chat-send").click()

        await self.do(send)


@pytest.fixture
async def queue(start: Start, tmp_path: Path) -> Queue:
    (tmp_path / "keys.yaml").write_text(KEYS)
    return await start(keys=KeySettings(file=tmp_path / "keys.yaml", admin_key=ADMIN))


@pytest.fixture
async def page(queue: Queue, chromium: webdriver.Chrome) -> AsyncIterator[Page]:
    """With the console open. It is left before its queue goes, or it would ask on and complain in the next test."""
    page = Page(chromium)
    await page.open(f"{queue.url}/console")
    yield page
    await page.open("about:blank")
    await page.complaints()


@pytest.fixture
async def told(queue: Queue) -> AsyncIterator[None]:
    """An operator that has a model which cannot run."""
    async with operator(queue) as socket:
        state = ModelState(ready=False, reason="NotEnoughGpus", message=CAUSE)
        await socket.send(Catalogue(models=["cold", "warm"], states={"cold": state}).model_dump_json())
        yield


async def answer(worker: V1Worker, *words: str) -> wire.Job:
    job = await worker.expect(wire.Job)
    for word in words:
        await worker.pieces((job.job, chunk(word)))
    await worker.pieces((job.job, DONE))
    await worker.result(job, usage=USAGE, receipt=job.receipt)
    return job


@pytest.mark.usefixtures("told")
async def test_a_key_opens_what_it_may_see(queue: Queue, page: Page) -> None:
    await page.until("#news", "key")
    assert await page.until("#models tbody") == ""
    async with V1Worker(queue.worker_url, "warm", "hidden", credit=2, name="warm-0") as worker:
        await page.use_key(OWN)
        await page.until("#models tbody", "warm")
        await page.until("#workers tbody", "warm-0", "ready")
        assert "cold" not in await page.until("#models tbody")
        assert "hidden" not in await page.until("#workers tbody", "warm-0")
        await page.chat("warm", "Who?")
        job = await answer(worker, "The", " Dodgers")
        assert job.openai_req["messages"] == [{"role": "user", "content": "Who?"}]
        await page.until("#chat-log", "Who?", "The Dodgers")
        await page.chat("warm", "Sure?")
        job = await answer(worker, "Yes")
        assert [one["content"] for one in job.openai_req["messages"]] == ["Who?", "The Dodgers", "Sure?"]
        await page.until("#chat-log", "Yes")


@pytest.mark.usefixtures("told")
async def test_the_admin_key_shows_everything(queue: Queue, page: Page) -> None:
    client = queue.client.with_options(api_key=OWN)
    waiting = asyncio.create_task(_ask(client, "warm"))
    await page.use_key(ADMIN)
    await page.until("#models tbody", "cold", "NotEnoughGpus", CAUSE)
    await page.until("#waiting tbody", "warm", "k1", "unknown")
    await page.until("#news", "0 running, 1 waiting")
    async with V1Worker(queue.worker_url, "warm", credit=1, name="warm-0") as worker:
        job = await worker.expect(wire.Job)
        await worker.result(job, body=PLAIN, usage=USAGE, receipt=job.receipt)
        await waiting
    await page.until("#waiting tbody", "Nothing waits")
    await page.open(f"{queue.url}/console")  # the key is kept, and usage is asked for anew
    row = await page.until("#usage tbody", "k1")
    assert row.split() == ["k1", "1", "5", "0", "2", "0.0"]
    assert not [line for line in await page.complaints() if "401" not in line]


async def test_usage_is_drawn_by_day_and_key(start: Start, chromium: webdriver.Chrome, tmp_path: Path) -> None:
    ids = [f"k{number}" for number in range(1, 8)]
    listed = ", ".join(f"{{id: {id_}, key: hr-{id_}-secret-of-the-test, models: [warm]}}" for id_ in ids)
    (tmp_path / "keys.yaml").write_text(f"keys: [{listed}]")
    queue = await start(keys=KeySettings(file=tmp_path / "keys.yaml", admin_key=ADMIN))
    page = Page(chromium)
    async with V1Worker(queue.worker_url, "warm", credit=len(ids)) as worker:
        for number, id_ in enumerate(ids, 1):
            asked = asyncio.create_task(_ask(queue.client.with_options(api_key=f"hr-{id_}-secret-of-the-test"), "warm"))
            job = await worker.expect(wire.Job)
            usage = wire.Usage(prompt_tokens=5, completion_tokens=10 * number, total_tokens=5 + 10 * number)
            await worker.result(job, body=PLAIN, usage=usage, receipt=job.receipt)
            await asked
    await page.open(f"{queue.url}/console")
    await page.use_key(ADMIN)
    assert (await page.until("#usage-chart figcaption", "k7")).split() == ["k7", "k6", "k5", "k4", "k3", "2", "others"]
    assert await page.do(lambda driver: len(driver.find_elements(By.CSS_SELECTOR, "#usage-chart text"))) == 8
    bars = await page.do(_bars)
    day = bars[0][0].partition(",")[0]
    said = [("k7", 70), ("k6", 60), ("k5", 50), ("k4", 40), ("k3", 30), ("2 others", 30)]
    assert [label for label, _, _ in bars] == [f"{day}, {name}: {tokens}" for name, tokens in said]
    assert [height / bars[-1][2] for _, _, height in bars] == [pytest.approx(tokens / 30) for _, tokens in said]
    tops = [top for _, top, _ in bars]
    assert tops == sorted(tops, reverse=True), "one upon the other"
    rows = (await page.until("#usage tbody", "k1", "k7")).splitlines()
    assert [row.split()[0] for row in rows] == ids
    await page.do(lambda driver: Select(driver.find_element(By.ID, "usage-by")).select_by_value("model"))
    assert await page.until("#usage-chart figcaption", "warm") == "warm"
    assert [label for label, _, _ in await page.do(_bars)] == [f"{day}, warm: 280"]
    await page.open("about:blank")
    assert not [line for line in await page.complaints() if "401" not in line]


JUDGED = """
const done = arguments[arguments.length - 1];
(async () => { %s })().then(done, (error) => done(String(error)));
"""


async def script(page: Page, body: str) -> object:
    """What a script returns that may import the page's modules."""
    return await page.do(lambda driver: driver.execute_async_script(JUDGED % body))


async def test_rates_are_kept_by_replica(page: Page) -> None:
    found = await script(
        page,
        """
        const { Rates } = await import("./console/rates.js");
        const rates = new Rates(60000, 30000);
        const said = [["a", 10000, 0], ["b", 1000000, 1000], ["a", 10020, 2000], ["b", 1000090, 4000],
                      ["a", 10018, 4000], ["a", 10038, 6000]];
        const sums = said.map(([replica, count, at]) => {
          rates.note(replica, [["m", count]], at);
          return rates.sum("m", at);
        });
        return [sums, rates.sum("m", 35000), rates.sum("unknown", 35000), rates.history("m").length];
        """,
    )
    assert found == [[0, 0, 10, 40, 30, 40], 10, 0, 7], "each for itself; less than before is nothing, not less"


async def test_views_of_replicas_are_put_together(page: Page) -> None:
    found = await script(
        page,
        """
        const { Replicas } = await import("./console/replicas.js");
        const view = (replica, more) => ({ replica, draining: false, queued: 1, running: 2, models: [], workers: [],
          waiting: [], ...more });
        const model = { name: "m", ready: false, reason: "NoWorker", queued: 1, running: 2, workers: 0 };
        const worker = { name: "w", state: "ready", running: 1, credits: 1 };
        const replicas = new Replicas(30000);
        const rounds = [
          view("b", { models: [model], workers: [worker, { ...worker, name: "" }],
            waiting: [{ request_id: "r1", position: 1, waited_seconds: 1, eta_seconds: 0.5 }] }),
          view("a", { models: [{ ...model, ready: true, reason: "WorkersReady", workers: 1 }],
            workers: [{ ...worker, state: "resting" }, worker, { ...worker, name: "" }],
            waiting: [{ request_id: "r0", position: 0, waited_seconds: 1, eta_seconds: null }] }),
        ];
        rounds.forEach((one, at) => replicas.note(one, at * 2000));
        const both = replicas.view(2000);
        const told = [replicas.count, both, replicas.view(31000).queued, replicas.count];
        return told;
        """,
    )
    assert isinstance(found, list), found
    count, both, later, left = found
    assert (count, both["queued"], both["running"], both["draining"]) == (2, 2, 4, 0)
    [model] = both["models"]
    assert (model["reason"], model["queued"], model["running"], model["workers"]) == ("WorkersReady", 2, 4, 1)
    workers = [(one["name"], one["state"], one["running"], one["credits"]) for one in both["workers"]]
    assert workers == [("w", "resting", 2, 2), ("w", "ready", 1, 1), ("", "ready", 1, 1), ("", "ready", 1, 1)]
    waiting = [(one["request_id"], one["waited_seconds"], one["eta_seconds"]) for one in both["waiting"]]
    assert waiting == [("r0", 1, None), ("r1", 3, 0)]
    assert (later, left) == (1, 1), "the one that was not heard of for long is left out"


@contextlib.asynccontextmanager
async def in_turn(*queues: Queue) -> AsyncIterator[str]:
    """The URL of a Service: each connection goes to the next queue."""
    ports = itertools.cycle([queue.server.port for queue in queues])

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_queue = await asyncio.open_connection("127.0.0.1", next(ports))
        await asyncio.gather(copy(to_queue[0], writer), copy(reader, to_queue[1]))

    async with await asyncio.start_server(relay, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_replicas_that_answer_in_turn_are_shown_as_one(
    start: Start, chromium: webdriver.Chrome, tmp_path: Path
) -> None:
    queues = [await start(data_folder=tmp_path / name) for name in "ab"]
    page = Page(chromium)
    async with contextlib.AsyncExitStack() as stack:
        url = await stack.enter_async_context(in_turn(*queues))
        for queue, credit in zip(queues, (1, 2), strict=True):
            await stack.enter_async_context(V1Worker(queue.worker_url, "m", credit=credit, name="w"))
        asked = [
            asyncio.create_task(_ask(queue.client.with_options(timeout=60), "m"))
            for queue in (*queues, queues[0], queues[0])
        ]
        await page.open(f"{url}/console")
        await page.until("#news", "2 running, 2 waiting at 2 replicas")
        for _ in range(3):
            assert (await page.until("#workers tbody")).split() == ["w", "m", "ready", "2", "1"]
            await page.do(lambda driver: WebDriverWait(driver, 5).until(_redrawn(driver)))
        assert len((await page.until("#waiting tbody")).splitlines()) == 2
        await page.open("about:blank")
        for task in asked:
            task.cancel()
    assert not [line for line in await page.complaints() if "401" not in line]


def _redrawn(driver: webdriver.Chrome) -> Callable[[webdriver.Chrome], bool]:
    row = driver.find_element(By.CSS_SELECTOR, "#workers tbody tr")
    return expected_conditions.staleness_of(row)


@pytest.mark.usefixtures("told")
async def test_a_cold_start_that_is_known_is_an_eta(queue: Queue, page: Page) -> None:
    cold = queue.server.dispatcher.waiting_room.forecast.cold
    cold.tell(0, "warm", Starting(state="loading"), 0.0)
    cold.ready(0, "warm", 779.7)
    await page.use_key(ADMIN)
    await page.until("#models tbody", "warm")
    asked = asyncio.create_task(_ask(queue.client.with_options(api_key=OWN, timeout=60), "warm"))
    row = await page.until("#waiting tbody", "warm", "k1")
    assert row.endswith(" 13 min 0 s")
    asked.cancel()


async def test_the_admin_key_chats_with_a_clients_key(queue: Queue, page: Page) -> None:
    async with V1Worker(queue.worker_url, "warm", credit=1) as worker:
        await page.use_key(ADMIN)
        assert "a client's key" in await page.until("#chat-own", "admin key")
        await page.chat("warm", "Who?")
        assert await page.do(lambda driver: driver.switch_to.active_element.get_attribute("id")) == "chat-key", "first"
        await page.do(lambda driver: driver.find_element(By.ID, "chat-key").send_keys(OWN))
        await page.chat("warm", " Really.")
        job = await answer(worker, "The Dodgers")
        assert job.openai_req["messages"] == [{"role": "user", "content": "Who? Really."}]
        await page.until("#chat-log", "The Dodgers")
        await page.use_key(OWN)
        await page.do(lambda driver: WebDriverWait(driver, 15).until(_hidden))


def _hidden(driver: webdriver.Chrome) -> bool:
    return not driver.find_element(By.ID, "chat-own").is_displayed()


async def test_what_was_not_answered_is_no_part_of_the_conversation(queue: Queue, page: Page) -> None:
    async with V1Worker(queue.worker_url, "warm", credit=2) as worker:
        await page.use_key(OWN)
        await page.until("#models tbody", "warm")
        await page.chat("warm", "Who?")
        job = await worker.expect(wire.Job)
        await worker.result(job, status=400, body={"error": {"message": "too long"}}, receipt=job.receipt)
        assert await page.until("#chat-log", "too long") == "too long"
        assert await page.do(lambda driver: driver.find_element(By.ID, "chat-text").get_property("value")) == "Who?"
        await page.chat("warm", " Really.")
        job = await answer(worker, "The Dodgers")
        assert job.openai_req["messages"] == [{"role": "user", "content": "Who? Really."}]
        await page.until("#chat-log", "Who? Really.", "The Dodgers")


async def _ask(client: openai.AsyncOpenAI, model: str) -> None:
    with contextlib.suppress(openai.OpenAIError):
        await client.chat.completions.create(model=model, messages=[{"role": "user", "content": "?"}])


def _bars(driver: webdriver.Chrome) -> list[tuple[str, float, float]]:
    """What the parts of the bars are called, where they begin, and how tall they are."""
    parts = driver.find_elements(By.CSS_SELECTOR, "#usage-chart svg.bars rect")
    numbers = [[float(part.get_attribute(name) or 0) for name in ("y", "height")] for part in parts]
    return [(part.accessible_name, top, tall) for part, (top, tall) in zip(parts, numbers, strict=True)]
