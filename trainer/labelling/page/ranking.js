// The ranking page: what was done to a question, what it looks like then, and who is told.

import {WorkClock} from "./clock.js";
import {Dragging} from "./drag.js";
import {Drafts, forgetDraft, newestDraft} from "./drafts.js";
import {keysAreOn, listen, turnKeys} from "./keys.js";
import {move, placeNext, placeOf, ranks, restored, takeOut, tieRest, toggleFlag, toggleTie, unranked} from "./order.js";
import {Refused, insist} from "./server.js";
import {View} from "./view.js";
import {afterChange} from "./words.js";

const byId = (id) => document.getElementById(id);
const view = new View();
const clock = new WorkClock();
const drafts = new Drafts(trouble, (saved) => { byId("saved").textContent = saved ? "Saved" : "Saving…"; });
const dragging = new Dragging((change, answer) => changed(change, answer));

let assignment = null;
let state = null;
let history = [];
let changes = 0;
let done = 0;
let busy = false;

function trouble(message) {
  byId("trouble").textContent = message ?? "";
  byId("trouble").hidden = !message;
}

function say(message) {
  byId("live").textContent = message;
}

function draft() {
  return {...state, changes, seconds: clock.seconds()};
}

function draw() {
  view.draw(state);
  dragging.attach();
  byId("undo").disabled = !history.length && !done;
}

// Everything that happens to an order goes through here: it can be undone, is drawn, said and kept.
function changed(change, answer) {
  const before = state;
  const after = change(state);
  if (after !== before) {
    history.push(before);
    settle(before, after, answer);
  } else {
    draw();  // what was dragged goes back to its place
  }
  if (answer !== null) view.focus(answer, document.activeElement?.dataset.action ?? "place");
  return true;
}

function settle(before, after, answer) {
  state = after;
  changes += 1;
  draw();
  say(afterChange(before, after, answer));
  drafts.keep(assignment.id, draft());
}

function receive(content) {
  assignment = content.assignment;
  done = content.done;
  history = [];
  byId("saved").textContent = "";
  showProgress(content);
  if (!assignment) {
    view.showNothing(done ? `Thank you: you ranked ${done}.` : "Nobody needs your ranking at the moment.");
    byId("undo").disabled = !done;
    return;
  }
  const kept = newestDraft(assignment.id, assignment.draft);
  state = restored(kept, assignment.answers.length);
  changes = kept?.changes ?? 0;
  clock.start(kept?.seconds ?? 0);
  view.show(assignment);
  draw();
  say(`Question ${done + 1}, ${assignment.answers.length} answers. ${unranked(state).length} to be ranked.`);
}

function showProgress(content) {
  const all = content.done + content.left;
  byId("progress").max = Math.max(all, 1);
  byId("progress").value = content.done;
  byId("progress-text").textContent = `${content.done} done, ${content.left} left`;
}

// One request at a time; what comes back is the next thing to do.
async function go(method, path, body) {
  if (busy) return;
  busy = true;
  document.body.classList.add("busy");
  try {
    await drafts.settled();
    receive(await insist(method, path, body, trouble));
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    trouble(error.message);
    if (error.status === 409) receive(await insist("GET", "api/item", undefined, trouble));
  } finally {
    busy = false;
    document.body.classList.remove("busy");
  }
}

async function finish(cannotJudge) {
  const own = assignment.id;
  await go("POST", "api/ranking", {
    assignment: own, ranks: ranks(state), flags: state.flags, seconds: clock.seconds(), cannot_judge: cannotJudge, draft: draft(),
  });
  if (assignment?.id !== own) forgetDraft(own);
}

function submit() {
  const left = unranked(state);
  if (!left.length) return finish(false);
  view.focus(left[0]);
  const which = left.map((answer) => answer + 1).join(", ");
  say(`Not ranked yet: ${which}.`);
  byId("saved").textContent = `Not ranked yet: ${which}`;
  return null;
}

function undo() {
  if (!history.length || !assignment) return done ? go("POST", "api/undo") : null;
  const before = state;
  settle(before, history.pop(), null);
  say(`Undone. ${afterChange(before, state, null)}`);
  return null;
}

const ON_ANSWER = {
  place: (answer) => changed((s) => placeOf(s, answer) < 0 ? placeNext(s, answer) : takeOut(s, answer), answer),
  up: (answer) => changed((s) => move(s, answer, -1), answer),
  down: (answer) => changed((s) => move(s, answer, 1), answer),
  tie: (answer) => changed((s) => toggleTie(s, answer), answer),
  out: (answer) => changed((s) => takeOut(s, answer), answer),
  more: (answer) => view.toggleText(answer),
  "flag-harmful": (answer) => changed((s) => toggleFlag(s, answer, "harmful"), answer),
  "flag-nonsense": (answer) => changed((s) => toggleFlag(s, answer, "nonsense"), answer),
};

const ANYWHERE = {
  undo, submit, "cannot-judge": () => finish(true), "tie-rest": () => changed(tieRest, null),
};

// What a key or a button outside of the answers means; says whether it meant something here.
function act(name, detail) {
  if (busy) return false;
  if (name === "help") { byId("keys").showModal(); return true; }
  if (name === "undo") { undo(); return true; }
  if (!assignment) return false;
  if (name in ANYWHERE) { ANYWHERE[name](); return true; }
  if (name === "number") return number(detail);
  if (name === "go") return goTo(view.neighbour(detail));
  const answer = view.focusedAnswer();
  if (answer === null) return false;
  if (name === "flag") return ON_ANSWER[`flag-${detail}`](answer);
  if (name === "move") return ON_ANSWER[detail < 0 ? "up" : "down"](answer);
  return ON_ANSWER[name](answer);
}

function number(answer) {
  if (answer >= assignment.answers.length) return false;
  if (placeOf(state, answer) < 0) changed((s) => placeNext(s, answer), answer);
  return goTo(answer);
}

function goTo(answer) {
  if (answer === null) return false;
  view.focus(answer);
  return true;
}

document.addEventListener("click", (event) => {
  const control = event.target.closest("button");
  const answer = control?.closest(".answer");
  if (answer && !busy) ON_ANSWER[control.dataset.action]?.(Number(answer.dataset.answer));
});
for (const name of ["undo", "help", "submit", "cannot-judge", "tie-rest"]) byId(name).addEventListener("click", () => act(name));
addEventListener("resize", () => { if (assignment) view.markLongTexts(); });
document.addEventListener("visibilitychange", () => {
  if (assignment && !busy && document.visibilityState === "hidden") drafts.keep(assignment.id, draft());
});
addEventListener("hashchange", () => location.reload());
byId("keys-on").checked = keysAreOn();
byId("keys-on").addEventListener("change", (event) => turnKeys(event.target.checked));
listen(act, () => byId("keys-on").checked);
go("GET", "api/item");
