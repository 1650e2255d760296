"""After the load: the last rows come in, and everybody who can tell of usage is asked for the same sums."""

import json
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp

from embedded import local
from tests.traffic import ledger
from tests.traffic.books import Row
from tests.traffic.shell import NAMESPACE, run
from tests.traffic.site import Site, until

_QUIET = 5
"""So many looks in a row show nothing new."""


async def settled(site: Site) -> list[Row]:
    """The ledger once nothing has come for some seconds and the webhook has been told of everything."""
    seen: list[int] = []

    async def quiet() -> bool:
        seen.append(len(ledger.rows(site.database)))
        return len(seen) > _QUIET and len(set(seen[-_QUIET:])) == 1 and not ledger.undelivered(site.database)

    await until("the ledger is complete and the webhook told", quiet)
    return ledger.rows(site.database)


async def told_elsewhere(site: Site, rows: list[Row]) -> list[str]:
    """Where `headrace usage` or `GET /v1/usage` tell other sums than the table has."""
    wanted = _sums((row.key, row.model, row.outcome, row.completion_tokens) for row in rows)
    said = _sums(map(_group, await _command()))
    problems = [f"headrace usage says {said - wanted} more and {wanted - said} less"] if said != wanted else []
    for key in site.keys:
        own = _sums((row.key, row.model, row.outcome, row.completion_tokens) for row in rows if row.key == key)
        told = _sums(map(_group, await _api(site, key)))
        problems += [f"GET /v1/usage tells {key} of {told} instead of {own}"] if told != own else []
    return problems


def _sums(groups: Any) -> Counter[tuple[str, ...]]:
    """Requests and tokens by key, model and outcome."""
    total: Counter[tuple[str, ...]] = Counter()
    for key, model, outcome, tokens, *requests in groups:
        total[key, model, outcome, "requests"] += requests[0] if requests else 1
        total[key, model, outcome, "tokens"] += tokens
    return total


def _group(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return row["key"], row["model"], row["outcome"], row["completion_tokens"], row["requests"]


async def _command() -> list[dict[str, Any]]:
    command = [Path(sys.executable).parent / "headrace", "usage", "--by", "key,model,outcome", "--format", "json"]
    # kubectl is the cluster's own
    path = f"PATH={Path(local.kubectl()).parent}:/usr/bin:/bin"
    said = await run("env", path, *command, "--namespace", NAMESPACE, "--kubeconfig", local.kubeconfig())
    found: list[dict[str, Any]] = json.loads(said)
    return found


async def _api(site: Site, key: str) -> list[dict[str, Any]]:
    headers = {"authorization": f"Bearer {site.keys[key]}"}
    url = f"{site.url}/v1/usage?group_by=key,model,outcome&limit=1000"
    async with aiohttp.ClientSession() as http, http.get(url, headers=headers) as response:
        response.raise_for_status()
        found: list[dict[str, Any]] = (await response.json())["data"]
    return found
