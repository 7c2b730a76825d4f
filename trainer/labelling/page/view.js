// Draws the state of one question. The cards stay the same elements wherever they are, so that nothing is lost in moves.

import {FLAGS, placeOf, unranked} from "./order.js";
import {ordinal, positionOf} from "./words.js";

const byId = (id) => document.getElementById(id);

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function button(action, text, title) {
  const made = element("button", {type: "button", textContent: text, title});
  made.dataset.action = action;
  return made;
}

export class View {
  // The question and its cards; `draw` puts the cards where they belong.
  show(assignment) {
    byId("item").hidden = false;
    byId("nothing").hidden = true;
    byId("question").replaceChildren(...questionParts(assignment.question));
    this.cards = assignment.answers.map(card);
    byId("question-title").focus({preventScroll: true});
    scrollTo(0, 0);
  }

  showNothing(text) {
    byId("item").hidden = true;
    byId("nothing").hidden = false;
    byId("nothing-text").textContent = text;
    byId("nothing-title").focus();
  }

  draw(state) {
    const focused = this.focusedControl();
    byId("pool").replaceChildren(...unranked(state).map((answer) => this.cards[answer]));
    byId("order").replaceChildren(...this.ladder(state));
    this.cards.forEach((own, answer) => drawCard(own, state, answer));
    const left = unranked(state).length;
    byId("pool-title").textContent = left ? `To be ranked: ${left}` : "All are ranked";
    byId("pool-hint").hidden = !left;
    byId("tie-rest").disabled = !left;
    this.markLongTexts();
    if (focused) this.focus(focused.answer, focused.action);
  }

  ladder(state) {
    const parts = [gap(0, state.places.length === 0)];
    state.places.forEach((answers, place) => {
      const title = element("h3", {textContent: answers.length > 1 ? `${ordinal(place)}, tied` : ordinal(place), id: `place-${place}`});
      const list = element("ul", {className: "answers stack"}, ...answers.map((answer) => this.cards[answer]));
      list.dataset.place = place;
      list.setAttribute("aria-labelledby", title.id);
      parts.push(element("div", {className: "place"}, title, list), gap(place + 1, false));
    });
    return parts;
  }

  markLongTexts() {
    for (const own of this.cards) {
      const text = own.querySelector(".text");
      const more = own.querySelector("[data-action=more]");
      const inOrder = own.closest("#order") !== null;
      if (!own.classList.contains("open")) more.hidden = !inOrder || text.scrollHeight <= text.clientHeight + 4;
      else more.hidden = !inOrder;
    }
  }

  toggleText(answer) {
    const open = this.cards[answer].classList.toggle("open");
    const more = this.cards[answer].querySelector("[data-action=more]");
    more.textContent = open ? "Show less" : "Show all";
    more.setAttribute("aria-expanded", open);
  }

  focus(answer, action = "place") {
    const wanted = this.cards[answer].querySelector(`[data-action="${action}"]`);
    const usable = wanted && !wanted.disabled && wanted.getClientRects().length;
    (usable ? wanted : this.cards[answer].querySelector("[data-action=place]")).focus();
  }

  focusedControl() {
    const answer = this.focusedAnswer();
    return answer === null ? null : {answer, action: document.activeElement.dataset.action};
  }

  focusedAnswer() {
    const own = document.activeElement?.closest(".answer");
    return own ? Number(own.dataset.answer) : null;
  }

  // The card before or after the one that has the focus, as they stand on the page.
  neighbour(step) {
    const all = [...document.querySelectorAll("#pool .answer, #order .answer")];
    const at = all.findIndex((own) => own.contains(document.activeElement));
    const next = at < 0 ? (step > 0 ? 0 : all.length - 1) : at + step;
    return all[next] ? Number(all[next].dataset.answer) : null;
  }
}

function questionParts(question) {
  if (typeof question === "string") return [element("p", {className: "text", textContent: question})];
  return question.map((message) => {
    const turn = element("div", {className: "turn"});
    turn.dataset.role = message.role;
    turn.append(element("p", {className: "role", textContent: message.role}), element("p", {className: "text", textContent: message.content}));
    return turn;
  });
}

function card(text, answer) {
  const number = button("place", String(answer + 1), "");
  number.className = "number";
  number.setAttribute("aria-describedby", `text-${answer}`);
  const flags = FLAGS.map((flag) => button(`flag-${flag}`, flag, `Mark as ${flag}`));
  for (const flag of flags) flag.className = "flag";
  const moves = element("span", {className: "moves"},
    button("up", "↑", "Better"), button("down", "↓", "Worse"), button("tie", "=", "Tie with the place above"),
    button("out", "×", "Take out of the order"));
  const bar = element("div", {className: "bar"}, number, element("span", {className: "grip"}), element("span", {className: "flags"}, ...flags), moves);
  bar.querySelector(".grip").setAttribute("aria-hidden", "true");
  const more = button("more", "Show all", "");
  more.setAttribute("aria-expanded", "false");
  more.className = "more";
  const made = element("li", {className: "answer"}, bar, element("div", {className: "text", id: `text-${answer}`, textContent: text}), more);
  made.dataset.answer = answer;
  return made;
}

function drawCard(own, state, answer) {
  const place = placeOf(state, answer);
  const control = (action) => own.querySelector(`[data-action="${action}"]`);
  const name = `Answer ${answer + 1}`;
  control("place").setAttribute("aria-label", `${name}, ${positionOf(state, answer)}`);
  control("place").setAttribute("aria-pressed", place >= 0);
  control("place").title = place < 0 ? "Next best" : "Take out of the order";
  own.querySelector(".moves").hidden = place < 0;
  const tied = place >= 0 && state.places[place].length > 1;
  control("up").disabled = place === 0 && !tied;
  control("down").disabled = place === state.places.length - 1 && !tied;
  control("tie").disabled = place === 0 && !tied;
  control("tie").setAttribute("aria-pressed", tied);
  for (const [action, what] of [["up", "better"], ["down", "worse"], ["tie", "tie with the place above"], ["out", "take out"]]) {
    control(action).setAttribute("aria-label", `${name}: ${what}`);
  }
  for (const flag of FLAGS) {
    control(`flag-${flag}`).setAttribute("aria-pressed", state.flags[answer].includes(flag));
    control(`flag-${flag}`).setAttribute("aria-label", `${name}: ${flag}`);
  }
}

function gap(place, wide) {
  const made = element("div", {className: wide ? "gap wide" : "gap"});
  made.dataset.gap = place;
  if (wide) made.dataset.empty = "Nothing here yet";
  return made;
}
