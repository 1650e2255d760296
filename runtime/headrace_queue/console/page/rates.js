// Tokens per second, from counters that only grow.

export class Rates {
  constructor(keepMs) {
    this.keepMs = keepMs;
    this.seen = new Map();
  }

  /** Takes a counter's value at a time in ms; returns how fast it has grown since the last one, per second. */
  note(name, count, at) {
    const found = this.seen.get(name) ?? { count, at, history: [] };
    const passed = (at - found.at) / 1000;
    // A counter that fell belongs to another queue, or to this one started anew.
    const rate = passed > 0 && count >= found.count ? (count - found.count) / passed : 0;
    const history = [...found.history, { at, rate }].filter((one) => at - one.at <= this.keepMs);
    this.seen.set(name, { count, at, history });
    return rate;
  }

  history(name) {
    return (this.seen.get(name)?.history ?? []).map((one) => one.rate);
  }
}
