// Rows and cells. Everything goes in as text: names and messages come from others and are never markup.

export function cell(text, kind = "") {
  const found = document.createElement("td");
  found.textContent = text;
  found.className = kind;
  return found;
}

export function state(model) {
  const found = document.createElement("td");
  const word = document.createElement("strong");
  word.textContent = model.reason || (model.ready ? "ready" : "unknown");
  word.className = model.ready ? "good" : "bad";
  found.append(word);
  if (model.message) {
    const cause = document.createElement("span");
    cause.className = "cause";
    cause.textContent = model.message;
    found.append(cause);
  }
  return found;
}

export function rows(table, items, draw, nothing) {
  const columns = table.tHead.rows[0].cells.length;
  const drawn = items.map((item) => {
    const row = document.createElement("tr");
    row.append(...draw(item));
    return row;
  });
  if (!drawn.length) {
    const row = document.createElement("tr");
    row.append(cell(nothing, "nothing"));
    row.cells[0].colSpan = columns;
    drawn.push(row);
  }
  table.tBodies[0].replaceChildren(...drawn);
}

export function seconds(value) {
  if (value < 90) return `${value.toFixed(value < 10 ? 1 : 0)} s`;
  const whole = Math.round(value);
  return `${Math.floor(whole / 60)} min ${whole % 60} s`;
}
