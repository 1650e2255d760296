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

/** One bar for each `{day, tokens}`. */
export function bars(days, title) {
  const width = 700, height = 180, foot = 20, head = 14;
  const most = Math.max(1, ...days.map((one) => one.tokens));
  const step = width / Math.max(1, days.length);
  const found = element("svg", { viewBox: `0 0 ${width} ${height}`, class: "bars", role: "img" }, element("title", {}, title));
  days.forEach((one, at) => {
    const tall = ((height - foot - head) * one.tokens) / most;
    const bar = { x: at * step + step * 0.15, y: height - foot - tall, width: step * 0.7, height: tall, "data-day": one.day };
    found.append(element("rect", bar, element("title", {}, `${one.day}: ${one.tokens.toLocaleString()}`)));
    const middle = { x: at * step + step / 2, "text-anchor": "middle" };
    if (one.tokens) found.append(element("text", { ...middle, y: height - foot - tall - 3 }, one.tokens.toLocaleString()));
    found.append(element("text", { ...middle, y: height - 6 }, one.day.slice(5)));
  });
  return found;
}
