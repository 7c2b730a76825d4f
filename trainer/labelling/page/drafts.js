// Keeps an order that is not finished: at once in the browser, and as soon as it answers on the server.

import {Refused, insist, place} from "./server.js";

export class Drafts {
  constructor(onTrouble, onSaved) {
    this.onTrouble = onTrouble;
    this.onSaved = onSaved;
    this.waiting = null;  // the newest one that the server does not have
    this.sending = null;
  }

  keep(assignment, draft) {
    toBrowser(assignment, draft);
    this.waiting = {assignment, draft};
    this.onSaved(false);
    this.sending ??= this.send().finally(() => { this.sending = null; });
  }

  // Nothing that was kept before is sent after this.
  async settled() {
    this.waiting = null;
    await this.sending;
  }

  async send() {
    while (this.waiting) {
      const body = this.waiting;
      this.waiting = null;
      try {
        await insist("PUT", "api/draft", body, this.onTrouble);
      } catch (error) {
        if (!(error instanceof Refused)) throw error;
        this.onTrouble(error.message);
        return;
      }
    }
    this.onSaved(true);
  }
}

// The newer one of what the server and this browser kept; `changes` counts a draft's changes.
export function newestDraft(assignment, fromServer) {
  const here = fromBrowser(assignment);
  return here && (!fromServer || here.changes > fromServer.changes) ? here : fromServer;
}

export function forgetDraft(assignment) {
  try {
    localStorage.removeItem(key(assignment));
  } catch {
    // a browser that keeps nothing has nothing to forget
  }
}

function key(assignment) {
  return `rewardplane.draft.${place()}.${assignment}`;
}

function toBrowser(assignment, draft) {
  try {
    localStorage.setItem(key(assignment), JSON.stringify(draft));
  } catch {
    // private windows may keep nothing: the server does
  }
}

function fromBrowser(assignment) {
  try {
    return JSON.parse(localStorage.getItem(key(assignment)));
  } catch {
    return null;
  }
}
