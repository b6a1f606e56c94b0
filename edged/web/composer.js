// The box one writes in: Enter sends, Shift+Enter breaks the line, the draft survives a reload.

import { recall, remember } from "./remember.js";
import { say } from "./strings.js";

export class Composer {
  #area = document.getElementById("question");
  #send = document.getElementById("send");
  #stop = document.getElementById("stop");
  #isBusy = false;
  #onSend;

  constructor({ onSend, onStop }) {
    this.#onSend = onSend;
    this.#area.placeholder = say("ask");
    this.#area.value = recall("draft");
    this.#area.addEventListener("input", () => this.#changed());
    this.#area.addEventListener("keydown", (event) => this.#pressed(event));
    this.#stop.addEventListener("click", onStop);
    document.getElementById("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    this.#changed();
  }

  /** While an answer is coming, Stop takes the place of Send. */
  setBusy(isBusy) {
    const hadFocus = document.activeElement === this.#send || document.activeElement === this.#stop;
    this.#isBusy = isBusy;
    this.#stop.hidden = !isBusy;
    this.#send.hidden = isBusy;
    this.#changed();
    if (hadFocus && isBusy) this.#stop.focus();
    else if (hadFocus) this.focus();
  }

  focus() {
    // On a touch screen focus would raise the keyboard over the page.
    if (matchMedia("(hover: hover)").matches) this.#area.focus();
  }

  #pressed(event) {
    // While an input method composes, Enter chooses a word; some browsers tell only by key code 229.
    const isComposing = event.isComposing || event.keyCode === 229;
    if (event.key !== "Enter" || event.shiftKey || isComposing) return;
    event.preventDefault();
    this.#submit();
  }

  #submit() {
    const question = this.#area.value.trim();
    if (!question || this.#isBusy) return;
    this.#area.value = "";
    this.#changed();
    this.#onSend(question);
  }

  #changed() {
    remember("draft", this.#area.value);
    this.#send.disabled = !this.#area.value.trim();
    this.#area.style.height = "auto";
    this.#area.style.height = `${this.#area.scrollHeight}px`; // the style sheet sets the limit
  }
}
