// Seconds in which somebody worked on a question: while the page is seen, and without long pauses.

const LONGEST_PAUSE_S = 60;  // of reading without a key, a touch or a move; what is longer counts so much
const SIGNS = ["keydown", "pointerdown", "pointermove", "scroll", "wheel"];

export class WorkClock {
  constructor() {
    this.start(0);
    for (const sign of SIGNS) document.addEventListener(sign, () => this.tick(), {passive: true, capture: true});
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "hidden") this.tick();
      this.last = performance.now();  // the time in which the page was hidden is nobody's work
    });
  }

  start(seconds) {
    this.total = seconds;
    this.last = performance.now();
  }

  tick() {
    const now = performance.now();
    this.total += Math.min((now - this.last) / 1000, LONGEST_PAUSE_S);
    this.last = now;
  }

  seconds() {
    this.tick();
    return Math.round(this.total * 10) / 10;
  }
}
