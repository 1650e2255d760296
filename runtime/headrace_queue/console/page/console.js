// The console: asks the queue every two seconds how things are, and draws it. No build step, no libraries.
// Each question may come to another replica, so there are as many of them each time as replicas are known.

import { bars, legend, series, spark } from "./charts.js";
import { Chat } from "./chat.js";
import { Rates } from "./rates.js";
import { Replicas } from "./replicas.js";
import { cell, rows, seconds, state } from "./tables.js";

const EVERY_MS = 2000;
const PATIENCE_MS = 5000;
const MOST_QUESTIONS = 8;
const FORGET_MS = 30000;
const USAGE_EVERY_MS = 30000;
const KEPT = "headrace-key";

const page = (id) => document.getElementById(id);
let rates, replicas;
const chat = new Chat(page, headers, say);
let asking = 0;
let next;

function headers() {
  const key = sessionStorage.getItem(KEPT);
  return key ? { Authorization: `Bearer ${key}` } : {};
}

function say(text, bad = false) {
  page("news").textContent = text;
  page("news").className = bad ? "bad" : "";
}

async function ask(path, signal) {
  const answer = await fetch(path, { headers: headers(), cache: "no-store", signal });
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(body.error?.message ?? `${path} answers ${answer.status}`);
  return body;
}

async function look() {
  const round = ++asking;
  clearTimeout(next);
  try {
    const told = await heard(Math.min(replicas.count, MOST_QUESTIONS));
    if (round !== asking) return;
    const now = performance.now();
    for (const found of told) {
      replicas.note(found, now);
      rates.note(found.replica, found.models.map((model) => [model.name, model.completion_tokens]), now);
    }
    const view = replicas.view(now);
    draw(view, now);
    report(view);
  } catch (error) {
    if (round === asking) say(error.message, true);
  }
  if (round === asking) next = setTimeout(look, EVERY_MS);
}

/** One answer of each replica that a question came to; an error if none could be answered. */
async function heard(questions) {
  const signal = AbortSignal.timeout(PATIENCE_MS);
  const asked = await Promise.allSettled(Array.from({ length: questions }, () => ask("console/state", signal)));
  const told = asked.filter((one) => one.status === "fulfilled").map((one) => one.value);
  if (!told.length) throw asked[0].reason;
  return new Map(told.map((one) => [one.replica, one])).values();
}

function report(view) {
  const many = replicas.count > 1 ? ` at ${replicas.count} replicas` : "";
  const stopping = many ? ` ${view.draining} of them stopping.` : " This queue is stopping.";
  say(`${view.running} running, ${view.queued} waiting${many}.${view.draining ? stopping : ""}`, view.draining > 0);
}

/** What was told to another key is not this one's to see. */
function forget() {
  rates = new Rates(5 * 60 * 1000, FORGET_MS);
  replicas = new Replicas(FORGET_MS);
}

function draw(found, now) {
  rows(page("models"), found.models, (model) => [
    cell(model.name),
    state(model),
    cell(model.queued, "number"),
    cell(model.running, "number"),
    cell(model.workers, "number"),
    cell(rates.sum(model.name, now).toFixed(1), "number"),
    spark(rates.history(model.name)),
  ], "No model is known here.");
  rows(page("workers"), found.workers, (worker) => [
    cell(worker.name || "(no name)"),
    cell(worker.models ? worker.models.join(", ") : "any"),
    state({ ready: worker.state === "ready", reason: worker.state, message: worker.detail }),
    cell(worker.running, "number"),
    cell(worker.credits, "number"),
  ], "No worker is connected.");
  rows(page("waiting"), found.waiting, (request) => [
    cell(request.request_id),
    cell(request.model),
    cell(request.key || "–"),
    cell(seconds(request.waited_seconds), "number"),
    cell(request.eta_seconds === null ? "unknown" : seconds(request.eta_seconds), "number"),
  ], "Nothing waits.");
  chat.offer(found.models.map((model) => model.name), found.chats);
}

async function lookAtUsage() {
  const by = page("usage-by").value;
  const days = lastDays(Number(page("usage-days").value));
  try {
    const used = await usage(by, days[0]);
    page("usage-head").textContent = by === "key" ? "Key" : "Model";
    const parts = series(used.map((row) => ({ day: row.day, name: row[by], tokens: row.completion_tokens })));
    page("usage-chart").replaceChildren(bars(days, parts, `Completion tokens by day, in UTC, and ${by}`), legend(parts));
    rows(page("usage"), totals(used, by), (row) => [
      cell(row[by] || "–"),
      ...[row.requests, row.prompt_tokens, row.cached_tokens, row.completion_tokens].map((n) => cell(n.toLocaleString(), "number")),
      cell(row.gpu_seconds.toFixed(1), "number"),
    ], "Nothing was used in these days.");
  } catch (error) {
    page("usage-chart").replaceChildren();
    rows(page("usage"), [], () => [], error.message);
  }
}

/** What was used each day since `start`, by key or model. */
async function usage(by, start) {
  const found = [];
  for (let after = ""; ;) {
    const answer = await ask(`v1/usage?${new URLSearchParams({ start, group_by: `day,${by}`, limit: 1000, ...(after && { after }) })}`);
    found.push(...answer.data);
    if (!answer.has_more) return found;
    after = answer.next;
  }
}

const SUMS = ["requests", "prompt_tokens", "cached_tokens", "completion_tokens", "gpu_seconds"];

/** The same for all days together, by name. */
function totals(used, by) {
  const found = new Map();
  for (const row of used) {
    const before = found.get(row[by]);
    found.set(row[by], { [by]: row[by], ...Object.fromEntries(SUMS.map((name) => [name, row[name] + (before?.[name] ?? 0)])) });
  }
  return [...found.values()].sort((one, other) => (one[by] < other[by] ? -1 : 1));
}

function lastDays(count) {
  const now = Date.now();
  return Array.from({ length: count }, (_, at) => new Date(now - (count - 1 - at) * 864e5).toISOString().slice(0, 10));
}

page("sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  const key = page("key").value.trim();
  if (key) sessionStorage.setItem(KEPT, key);
  else sessionStorage.removeItem(KEPT);
  page("key").value = "";
  forget();
  look();
  lookAtUsage();
});
page("usage-form").addEventListener("change", lookAtUsage);
forget();
setInterval(lookAtUsage, USAGE_EVERY_MS);
look();
lookAtUsage();
