// Tokens per second, from counters that grow: one for each model at each replica.

export class Rates {
  constructor(keepMs, forgetMs) {
    this.keepMs = keepMs;
    this.forgetMs = forgetMs;
    this.replicas = new Map();
    this.histories = new Map();
  }

  /** Takes what a replica has counted, `[name, count]` for each model, at a time in ms. */
  note(replica, counts, at) {
    const before = this.replicas.get(replica);
    const passed = before ? (at - before.at) / 1000 : 0;
    const rates = new Map();
    for (const [name, count] of counts) {
      // It falls a little where the engine has counted less than was seen to pass.
      const grown = Math.max(0, count - (before?.counts.get(name) ?? count));
      rates.set(name, passed > 0 ? grown / passed : 0);
    }
    this.replicas.set(replica, { at, counts: new Map(counts), rates });
  }

  /** How fast a model is at all replicas that were heard of lately; this becomes the newest of its history. */
  sum(name, at) {
    const heard = [...this.replicas.values()].filter((one) => at - one.at <= this.forgetMs);
    const rate = heard.reduce((sum, one) => sum + (one.rates.get(name) ?? 0), 0);
    const history = [...(this.histories.get(name) ?? []), { at, rate }];
    this.histories.set(name, history.filter((one) => at - one.at <= this.keepMs));
    return rate;
  }

  history(name) {
    return (this.histories.get(name) ?? []).map((one) => one.rate);
  }
}
