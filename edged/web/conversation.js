// The one conversation: its turns, the request in flight, and what is sent of the past.

import { AnswerView } from "./answer.js";
import { element } from "./dom.js";
import { say } from "./strings.js";
import { chat, ChatError } from "./wire.js";

export class Conversation {
  #list;
  #follow;
  #model;
  #onChange;
  #turns = []; // [{question, view, element}]
  #inFlight = null; // AbortController
  #dropped = 0; // messages that the model no longer sees
  #border = element("p", { className: "border", role: "note" }, element("span", {}, say("unseen")));

  /** `model()` names the model to ask; `onChange(answeredBy)` is called when a request starts or ends. */
  constructor({ list, follow, model, onChange }) {
    this.#list = list;
    this.#follow = follow;
    this.#model = model;
    this.#onChange = onChange;
  }

  get isBusy() {
    return this.#inFlight !== null;
  }

  get isEmpty() {
    return this.#turns.length === 0;
  }

  ask(question) {
    const view = new AnswerView(() => this.#follow.grown());
    const asked = element("article", { className: "question", dir: "auto", ariaLabel: say("you") }, question);
    const turn = { question, view, element: asked };
    this.#turns.push(turn);
    this.#list.append(asked, view.element);
    this.#follow.toEnd();
    return this.#answer(turn, this.#messagesBefore(turn));
  }

  /** Closing the connection is what stops the model. */
  stop() {
    this.#inFlight?.abort();
  }

  clear() {
    this.stop();
    this.#inFlight = null;
    this.#turns = [];
    this.#dropped = 0;
    this.#list.replaceChildren();
    this.#onChange(null);
  }

  #retry(turn, { isPatient = false } = {}) {
    if (this.isBusy) return;
    turn.view.clear();
    this.#answer(turn, this.#messagesBefore(turn), isPatient);
  }

  #goOn(turn) {
    if (this.isBusy) return;
    const soFar = { role: "assistant", content: turn.view.text };
    const goOn = { role: "user", content: say("goOnPrompt") };
    this.#answer(turn, [...this.#messagesBefore(turn), soFar, goOn]);
  }

  async #answer(turn, messages, isPatient = false) {
    const inFlight = (this.#inFlight = new AbortController());
    turn.view.begin();
    this.#onChange(null);
    let answeredBy = null;
    try {
      for await (const event of chat({ model: this.#model(), messages, isPatient, signal: inFlight.signal })) {
        if (event.dropped != null) this.#leaveOut(event.dropped, turn);
        if (event.kind !== "end") turn.view.take(event);
        else turn.view.finish(event, { goOn: () => this.#goOn(turn) });
        answeredBy = event.model ?? answeredBy;
      }
    } catch (problem) {
      if (inFlight.signal.aborted) turn.view.stop();
      else this.#fail(turn, problem);
    }
    if (this.#inFlight !== inFlight) return; // a new chat has begun meanwhile
    this.#inFlight = null;
    this.#onChange(answeredBy);
  }

  #fail(turn, problem) {
    const isKnown = problem instanceof ChatError;
    turn.view.fail(isKnown ? problem : new ChatError("other", String(problem)), {
      retry: () => this.#retry(turn),
      askAnyway: () => this.#retry(turn, { isPatient: true }),
      newChat: () => this.clear(),
    });
    if (!isKnown) reportError(problem); // a fault of this page belongs on the console too
  }

  /** The oldest `count` messages were not told to the model: draw a line below them. */
  #leaveOut(count, turn) {
    if (count === this.#dropped) return;
    this.#dropped = count;
    this.#border.remove(); // with a larger model everything may fit again
    if (count === 0) return;
    const told = this.#turns.filter(({ view }) => view === turn.view || view.text);
    (told[count / 2] ?? turn).element.before(this.#border); // a turn that was answered is two messages
    turn.view.noteDropped();
  }

  /** What the model is told: answered turns only, since templates want questions and answers in turn. */
  #messagesBefore(turn) {
    const messages = [];
    for (const { question, view } of this.#turns) {
      if (view === turn.view) break;
      if (!view.text) continue;
      messages.push({ role: "user", content: question }, { role: "assistant", content: view.text });
    }
    return [...messages, { role: "user", content: turn.question }];
  }
}
