// What only the owner sees: progress, time and agreement, anew every few seconds.

import {Refused, call} from "./server.js";

const EVERY_MS = 5000;
const byId = (id) => document.getElementById(id);

function element(tag, text, properties = {}) {
  return Object.assign(document.createElement(tag), {textContent: text, ...properties});
}

function row(cells, head) {
  const made = document.createElement("tr");
  made.append(...cells.map((cell, i) => head ? element("th", cell, {scope: "col"}) : i ? element("td", cell) : element("th", cell, {scope: "row"})));
  return made;
}

function table(id, head, rows) {
  const top = document.createElement("thead");
  top.append(row(head, true));
  const body = document.createElement("tbody");
  body.append(...rows.map((cells) => row(cells, false)));
  byId(id).replaceChildren(top, body);
}

const seconds = (value) => value === null ? "" : value.toFixed(1);

function estimate(name, found) {
  if (!found) return [name, "not yet", "", ""];
  return [name, found.value.toFixed(3), `${found.low.toFixed(3)} to ${found.high.toFixed(3)}`, String(found.questions)];
}

function show(found) {
  const figures = {
    "Rankings": `${found.rankings} of ${found.wanted}`, "Questions done": `${found.complete} of ${found.items}`,
    "Could not be judged": found.cannot_judge, "Harmful answers": found.flags.harmful, "Nonsense answers": found.flags.nonsense,
  };
  byId("figures").replaceChildren(...Object.entries(figures).map(([name, value]) => {
    const pair = document.createElement("div");
    pair.append(element("dt", name), element("dd", String(value)));
    return pair;
  }));
  byId("agreement-hint").textContent = found.people_per_shared_item === null
    ? "Nobody ranked what somebody else did. Serve with --per-item 2 or more to see agreement."
    : `Of questions that ${found.people_per_shared_item.toFixed(1)} people ranked on average. By chance, W is about ${(1 / found.people_per_shared_item).toFixed(2)} and pairs agree half of the time.`;
  table("agreement", ["Measure", "Mean", "95 % interval", "Questions"], [
    estimate("Kendall's W", found.kendall_w), estimate("Pairs in the same order", found.pairwise),
  ]);
  table("pace", ["Answers", "Rankings", "Median", "Mean"],
    found.pace.map((own) => [String(own.answers), String(own.rankings), seconds(own.median_seconds), seconds(own.mean_seconds)]));
  table("rankers", ["Name", "Done", "Left", "Could not judge", "Median seconds"],
    found.rankers.map((own) => [own.name, String(own.done), String(own.left), String(own.cannot_judge), seconds(own.median_seconds)]));
  byId("overview").hidden = false;
}

function trouble(message) {
  byId("trouble").textContent = message;
  byId("trouble").hidden = !message;
}

async function refresh() {
  try {
    show(await call("GET", "api/overview"));
    trouble("");
  } catch (error) {
    trouble(error instanceof Refused ? error.message : "The server cannot be reached.");
    if (error instanceof Refused && error.status === 401) return;
  }
  setTimeout(refresh, EVERY_MS);
}

addEventListener("hashchange", () => location.reload());
refresh();
