// What a change is called, for those who do not see it.

import {placeOf, unranked} from "./order.js";

export function ordinal(place) {
  const n = place + 1;
  return n + (["st", "nd", "rd"][n - 1] ?? "th");  // of nine places at most
}

export function positionOf(state, answer) {
  const place = placeOf(state, answer);
  if (place < 0) return "not ranked";
  const others = state.places[place].filter((other) => other !== answer).map((other) => other + 1);
  const tie = others.length ? `, tied with ${others.join(" and ")}` : "";
  return `${ordinal(place)} of ${state.places.length}${tie}`;
}

export function difference(before, after) {
  const said = [];
  after.flags.forEach((flags, answer) => {
    const old = before.flags[answer];
    for (const flag of flags.filter((name) => !old.includes(name))) said.push(`Answer ${answer + 1} marked as ${flag}.`);
    for (const flag of old.filter((name) => !flags.includes(name))) said.push(`Answer ${answer + 1} not ${flag}.`);
  });
  return said.join(" ");
}

export function afterChange(before, after, answer) {
  const flagged = difference(before, after);
  if (flagged) return flagged;
  const left = unranked(after).length;
  const rest = left ? `${left} to be ranked.` : "All are ranked.";
  return answer === null ? rest : `Answer ${answer + 1}: ${positionOf(after, answer)}. ${rest}`;
}
