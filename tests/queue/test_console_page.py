"""The console in a real Chromium, on a real queue."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import openai
import pytest
from queue_setup import DONE, PLAIN, Queue, Start, chunk, operator
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select, WebDriverWait
from v1_worker import V1Worker

from headrace_api import wire
from headrace_api.load import Catalogue, ModelState
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
    bars = await page.do(lambda driver: [float(bar.get_attribute("height") or 0) for bar in _bars(driver)])
    assert len(bars) == 7
    assert [height > 0 for height in bars] == [False] * 6 + [True]
    assert not [line for line in await page.complaints() if "401" not in line]


async def _ask(client: openai.AsyncOpenAI, model: str) -> None:
    with contextlib.suppress(openai.OpenAIError):
        await client.chat.completions.create(model=model, messages=[{"role": "user", "content": "?"}])


def _bars(driver: webdriver.Chrome) -> list[webdriver.remote.webelement.WebElement]:
    return driver.find_elements(By.CSS_SELECTOR, "#usage-chart rect")
