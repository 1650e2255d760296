// Two small charts as SVG.

const SVG = "http://www.w3.org/2000/svg";

function element(name, attributes, ...children) {
  const found = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) found.setAttribute(key, value);
  found.append(...children);
  return found;
}

/** A line of numbers over time, inside a table's cell. */
export function spark(values) {
  const most = Math.max(1, ...values);
  const points = values.map((value, at) => `${(100 * at) / Math.max(1, values.length - 1)},${20 - (18 * value) / most}`);
  const found = document.createElement("td");
  const picture = element("svg", { viewBox: "0 0 100 20", class: "spark", preserveAspectRatio: "none", role: "img" });
  picture.append(element("title", {}, `up to ${most.toFixed(1)} tokens/s`), element("polyline", { points: points.join(" ") }));
  found.append(picture);
  return found;
}

const MOST_SERIES = 5;

/**
 * Who gets a part of each bar: the names with the most, by `{day, name, tokens}`, then the rest together.
 *
 * Each is `{label, tokens}`, the latter by day.
 */
export function series(used) {
  const byName = new Map();
  for (const { name, day, tokens } of used) {
    if (!byName.has(name)) byName.set(name, new Map());
    if (tokens) byName.get(name).set(day, (byName.get(name).get(day) ?? 0) + tokens);
  }
  const found = [...byName].map(([name, tokens]) => ({ label: name || "–", tokens })).filter((one) => one.tokens.size);
  found.sort((one, other) => total(other.tokens) - total(one.tokens));
  const rest = found.splice(found.length > MOST_SERIES + 1 ? MOST_SERIES : found.length);
  if (rest.length) {
    const tokens = new Map();
    for (const one of rest) for (const [day, count] of one.tokens) tokens.set(day, (tokens.get(day) ?? 0) + count);
    found.push({ label: `${rest.length} others`, tokens });
  }
  return found;
}

/** One bar for each day, in as many parts as there are series. */
export function bars(days, parts, title) {
  const width = 700, height = 180, foot = 20, head = 14;
  const totals = days.map((day) => parts.reduce((sum, one) => sum + (one.tokens.get(day) ?? 0), 0));
  const most = Math.max(1, ...totals);
  const step = width / Math.max(1, days.length);
  // A group and not an image, so that what reads the page aloud finds its parts.
  const found = element("svg", { viewBox: `0 0 ${width} ${height}`, class: "bars", role: "group", "aria-label": title });
  days.forEach((day, at) => {
    let top = height - foot;
    parts.forEach((one, nth) => {
      const tokens = one.tokens.get(day);
      if (!tokens) return;
      const tall = ((height - foot - head) * tokens) / most;
      top -= tall;
      const said = `${day}, ${one.label}: ${tokens.toLocaleString()}`;
      const bar = { x: at * step + step * 0.15, y: top, width: step * 0.7, height: tall, class: `series-${nth}` };
      found.append(element("rect", { ...bar, role: "img", "aria-label": said }, element("title", {}, said)));
    });
    const middle = { x: at * step + step / 2, "text-anchor": "middle" };
    if (totals[at]) found.append(element("text", { ...middle, y: top - 3 }, totals[at].toLocaleString()));
    found.append(element("text", { ...middle, y: height - 6 }, day.slice(5)));
  });
  return found;
}

/** Which colour is whose. */
export function legend(parts) {
  const found = document.createElement("figcaption");
  parts.forEach((one, nth) => {
    const name = document.createElement("span");
    const swatch = element("svg", { viewBox: "0 0 10 10", class: "swatch", "aria-hidden": "true" });
    swatch.append(element("rect", { width: 10, height: 10, class: `series-${nth}` }));
    name.append(swatch, one.label);
    found.append(name, " ");
  });
  return found;
}

function total(tokens) {
  return [...tokens.values()].reduce((sum, one) => sum + one, 0);
}
