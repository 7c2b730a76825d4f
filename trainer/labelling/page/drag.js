// Dragging, by SortableJS: onto a place for a tie, between places for a place of its own, back to what is not ranked.

import Sortable from "./vendor/sortable.js";
import {insert, stack, takeOut} from "./order.js";

const TOUCH_DELAY_MS = 120;  // a finger that moves at once scrolls

const still = matchMedia("(prefers-reduced-motion: reduce)");

export class Dragging {
  // `dropped(change, answer)` gets a function of states.
  constructor(dropped) {
    this.dropped = dropped;
    this.lists = [];
  }

  // To be called whenever the lists are new.
  attach() {
    for (const list of this.lists) list.destroy();
    const containers = [document.getElementById("pool"), ...document.querySelectorAll("#order .stack, #order .gap")];
    this.lists = containers.map((container) => new Sortable(container, {
      group: "answers",
      handle: ".bar",
      draggable: ".answer",
      sort: container.classList.contains("gap"),
      animation: still.matches ? 0 : 120,
      forceFallback: true,  // pointer events: the same for a mouse, a finger and a pen
      fallbackOnBody: true,
      fallbackTolerance: 4,  // a click on a button of the bar stays one
      delay: TOUCH_DELAY_MS,
      delayOnTouchOnly: true,
      ghostClass: "ghost",
      fallbackClass: "held",
      onStart: () => document.body.classList.add("dragging"),
      onEnd: (event) => this.ended(event),
    }));
  }

  ended(event) {
    document.body.classList.remove("dragging");
    const answer = Number(event.item.dataset.answer);
    const {gap, place} = event.to.dataset;
    if (event.to === event.from) this.dropped((state) => state, answer);
    else if (gap !== undefined) this.dropped((state) => insert(state, answer, Number(gap)), answer);
    else if (place !== undefined) this.dropped((state) => stack(state, answer, Number(place)), answer);
    else this.dropped((state) => takeOut(state, answer), answer);
  }
}
