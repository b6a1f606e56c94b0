// Which models there are, which one is asked, and whether it is ready.

import { element } from "./dom.js";
import { recall, remember } from "./remember.js";
import { say, sayError } from "./strings.js";
import { ChatError, listModels, readiness } from "./wire.js";

const GUIDE = "guide";
const RECHECK_S = 2; // where the daemon does not say when to ask again

/** The picker: a plain list, shown when there is a choice. */
export class Models {
  #picker = document.getElementById("picker");
  #select = document.getElementById("model");
  #note = document.getElementById("guide");
  #names = [];

  constructor() {
    this.#select.addEventListener("change", () => {
      remember("model", this.#select.value);
      this.noteGuide(this.#select.value);
    });
  }

  /** The model to ask, or "" to leave the choice to the daemon. */
  get chosen() {
    return this.#select.value;
  }

  /** Ask the daemon again which models it has. */
  async refresh() {
    const names = await listModels();
    if (names.join("\n") === this.#names.join("\n")) return;
    this.#names = names;
    const options = names.map((name) => element("option", { value: name }, name));
    this.#select.replaceChildren(element("option", { value: "" }, say("automatic")), ...options);
    this.#select.value = names.includes(recall("model")) ? recall("model") : "";
    this.#picker.hidden = names.length < 2;
    this.noteGuide(names.length === 1 ? names[0] : this.#select.value);
  }

  /** Say that the guide is only the guide, if it is who answers. */
  noteGuide(name) {
    this.#note.hidden = name !== GUIDE;
  }
}

/** Says that the model is being loaded, or the device away, until neither is true. */
export class Readiness {
  #line = document.getElementById("readiness");
  #isWatching = false;
  #models;
  #onLocked;

  /** `onLocked()` is called where the device does not answer those who are not let in. */
  constructor(models, onLocked) {
    this.#models = models;
    this.#onLocked = onLocked;
  }

  /** Ask until the daemon is ready, keeping the line and the list of models true. */
  async watch() {
    if (this.#isWatching) return;
    this.#isWatching = true;
    let state;
    while ((state = await this.#ask()) !== null && !state.isLocked) {
      this.#line.textContent = describe(state);
      this.#line.hidden = false;
      await new Promise((resolve) => setTimeout(resolve, 1000 * (state.retryAfterSeconds || RECHECK_S)));
    }
    this.#line.hidden = true;
    this.#isWatching = false;
    if (state) this.#onLocked();
  }

  async #ask() {
    try {
      await this.#models.refresh();
      return await readiness();
    } catch (problem) {
      if (!(problem instanceof ChatError)) throw problem;
      return problem;
    }
  }
}

function describe(state) {
  const { code, progress, etaSeconds } = state;
  if (code !== "model_loading") return sayError(state).text;
  const loading = progress == null ? say("loading") : say("loadingPart", Math.round(progress * 100));
  return etaSeconds == null ? loading : `${loading} ${say("secondsLeft", Math.ceil(etaSeconds))}`;
}
