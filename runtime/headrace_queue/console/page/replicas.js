// One view of all replicas: any of them may answer, and each tells of its own requests.

export class Replicas {
  constructor(forgetMs) {
    this.forgetMs = forgetMs;
    this.newest = new Map();
  }

  /** Takes what a replica has told at a time in ms. */
  note(found, at) {
    this.newest.set(found.replica, { found, at });
  }

  /** How many were heard of lately, at least one. */
  get count() {
    return Math.max(1, this.newest.size);
  }

  /** The newest word of each that was heard of lately, put together. */
  view(now) {
    for (const [replica, { at }] of this.newest) {
      if (now - at > this.forgetMs) this.newest.delete(replica);
    }
    const told = [...this.newest.values()].sort((one, other) => (one.found.replica < other.found.replica ? -1 : 1));
    const all = told.map((one) => one.found);
    return {
      chats: all.every((one) => one.chats),
      draining: all.filter((one) => one.draining).length,
      queued: sum(all, "queued"),
      running: sum(all, "running"),
      models: models(all.flatMap((one) => one.models)),
      workers: workers(all),
      waiting: told.flatMap(({ found, at }) => found.waiting.map((one) => aged(one, (now - at) / 1000)))
        .sort((one, other) => one.position - other.position),
    };
  }
}

function models(views) {
  return [...grouped(views, (one) => one.name).values()]
    .map((same) => ({
      ...(same.find((one) => one.ready) ?? same[0]),
      queued: sum(same, "queued"),
      running: sum(same, "running"),
      workers: Math.max(...same.map((one) => one.workers)), // each is connected with all replicas
    }))
    .sort((one, other) => (one.name < other.name ? -1 : 1));
}

/** A worker is known by its name; of several with one name the first is the same at each replica, and so on. */
function workers(all) {
  const views = all.flatMap((one) => {
    const names = new Map();
    return one.workers.map((worker) => {
      const nth = (names.get(worker.name) ?? 0) + 1;
      names.set(worker.name, nth);
      // One without a name speaks the seed's protocol, and is connected with one replica only.
      return { key: JSON.stringify([worker.name, nth, worker.name ? "" : one.replica]), worker };
    });
  });
  return [...grouped(views, (one) => one.key).values()].map((group) => {
    const same = group.map((one) => one.worker);
    return {
      ...(same.find((one) => one.state !== "ready") ?? same[0]),
      running: sum(same, "running"),
      credits: sum(same, "credits"),
    };
  });
}

function aged(request, seconds) {
  const eta = request.eta_seconds;
  return {
    ...request,
    waited_seconds: request.waited_seconds + seconds,
    eta_seconds: eta === null ? null : Math.max(0, eta - seconds),
  };
}

function grouped(items, key) {
  const found = new Map();
  for (const item of items) {
    const name = key(item);
    found.set(name, [...(found.get(name) ?? []), item]);
  }
  return found;
}

function sum(items, name) {
  return items.reduce((total, one) => total + one[name], 0);
}
