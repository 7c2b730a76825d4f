// Keys that do what buttons do. They can be turned off, for those whose own tools use them.

const ON = "rewardplane.keys";

export function keysAreOn() {
  try {
    return localStorage.getItem(ON) !== "off";
  } catch {
    return true;
  }
}

export function turnKeys(on) {
  try {
    localStorage.setItem(ON, on ? "on" : "off");
  } catch {
    // for this page only, then
  }
}

// `act(name, detail)` gets what a key means; it says whether it was of use.
export function listen(act, isOn) {
  document.addEventListener("keydown", (event) => {
    if (!isOn() || event.altKey || event.isComposing || document.querySelector("dialog[open]")) return;
    const meaning = meaningOf(event);
    if (meaning && act(...meaning)) event.preventDefault();
  });
}

function meaningOf(event) {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (event.ctrlKey || event.metaKey) return key === "z" && !event.shiftKey ? ["undo"] : null;
  if (/^[1-9]$/.test(key)) return ["number", Number(key) - 1];
  const arrow = {ArrowUp: -1, ArrowDown: 1}[key];
  if (arrow) return [event.shiftKey ? "move" : "go", arrow];
  return {
    k: ["go", -1], j: ["go", 1], "=": ["tie"], t: ["tie"], Backspace: ["out"], Delete: ["out"],
    h: ["flag", "harmful"], n: ["flag", "nonsense"], 0: ["tie-rest"], u: ["undo"], s: ["submit"], x: ["cannot-judge"],
    "?": ["help"],
  }[key] ?? null;
}
