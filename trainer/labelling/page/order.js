// The state of one question, and every change to it, without a page: places are stacks of answers, best first.
//
// {places: [[answer, ...], ...], flags: [[flag, ...] of each answer]}; an answer is its number as shown, from 0.
// Every function gives a new state and leaves the old one as it was, so that undoing is going back to it.

export const FLAGS = ["harmful", "nonsense"];

export function emptyOrder(answers) {
  return {places: [], flags: Array.from({length: answers}, () => [])};
}

export function placeOf(state, answer) {
  return state.places.findIndex((stack) => stack.includes(answer));
}

export function unranked(state) {
  return state.flags.map((_, answer) => answer).filter((answer) => placeOf(state, answer) < 0);
}

// Puts the answer into a place of its own before what is now the place `gap`.
export function insert(state, answer, gap) {
  const marked = [...state.places.slice(0, gap), null, ...state.places.slice(gap)];
  return withPlaces(state, marked.map((stack) => stack === null ? [answer] : without(stack, answer)));
}

// Puts the answer beside those of a place.
export function stack(state, answer, place) {
  return withPlaces(state, state.places.map((own, i) => i === place ? [...without(own, answer), answer] : without(own, answer)));
}

export function takeOut(state, answer) {
  return withPlaces(state, state.places.map((own) => without(own, answer)));
}

export function placeNext(state, answer) {
  return insert(state, answer, state.places.length);
}

// One step up (-1) or down (1): past its neighbour, or out of its tie.
export function move(state, answer, step) {
  const place = placeOf(state, answer);
  if (place < 0) return state;
  if (state.places[place].length > 1) return insert(state, answer, step < 0 ? place : place + 1);
  const gap = step < 0 ? place - 1 : place + 2;
  return gap < 0 || gap > state.places.length ? state : insert(state, answer, gap);
}

// Ties the answer with the place above; one that is tied already gets the place below its tie.
export function toggleTie(state, answer) {
  const place = placeOf(state, answer);
  if (place < 0) return state;
  if (state.places[place].length > 1) return insert(state, answer, place + 1);
  return place === 0 ? state : stack(state, answer, place - 1);
}

export function tieRest(state) {
  const rest = unranked(state);
  return rest.length ? withPlaces(state, [...state.places, rest]) : state;
}

export function toggleFlag(state, answer, flag) {
  const flags = state.flags.map((own, i) => i !== answer ? own
    : FLAGS.filter((name) => name === flag ? !own.includes(name) : own.includes(name)));
  return {...state, flags};
}

// Rank of each answer as shown, 0 the best; null for what is not ranked.
export function ranks(state) {
  return state.flags.map((_, answer) => {
    const place = placeOf(state, answer);
    return place < 0 ? null : place;
  });
}

// A state that was kept somewhere, or an empty one where it does not fit.
export function restored(kept, answers) {
  const empty = emptyOrder(answers);
  if (!kept || !Array.isArray(kept.places) || !Array.isArray(kept.flags) || kept.flags.length !== answers) return empty;
  const placed = kept.places.flat();
  const known = placed.every((answer) => Number.isInteger(answer) && answer >= 0 && answer < answers);
  if (!known || new Set(placed).size !== placed.length) return empty;
  return {places: kept.places.filter((own) => own.length), flags: kept.flags};
}

function without(stack, answer) {
  return stack.filter((other) => other !== answer);
}

function withPlaces(state, places) {
  return {...state, places: places.filter((own) => own.length)};
}
