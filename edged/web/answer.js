// One answer on the page: it waits, grows by at most one paint per animation frame, and ends in one of four ways:
// finished, cut at its length, stopped, or failed. What has arrived stays, and says when it is not complete.

import { badge } from "./badge.js";
import { copyButton } from "./copy.js";
import { button, element } from "./dom.js";
import { MarkdownView } from "./markdown.js";
import { splitThoughts } from "./reasoning.js";
import { say, sayError } from "./strings.js";

export class AnswerView {
  #body = element("div", { className: "prose", dir: "auto" });
  #markdown = new MarkdownView(this.#body);
  #thoughtsText = element("p");
  #thoughts = element("details", { className: "thoughts", hidden: true },
    element("summary", {}, say("reasoning")), this.#thoughtsText);
  #waiting = element("p", { className: "waiting", hidden: true });
  #dropped = element("p", { className: "dropped", hidden: true }, say("droppedNow"));
  #foot = element("div", { className: "foot" });
  element = element("article", { className: "answer", ariaLabel: say("answer") },
    this.#dropped, this.#thoughts, this.#body, this.#waiting, this.#foot);

  #text = "";
  #reasoning = "";
  #isResuming = false;
  #frame = 0;
  #restUntil = 0;
  #ticker = 0;
  #clock = null;
  #onPaint;

  /** `onPaint` is called after each change of the answer's height. */
  constructor(onPaint) {
    this.#onPaint = onPaint;
  }

  /** The answer proper, as Markdown, without thoughts. */
  get text() {
    return splitThoughts(this.#text).answer;
  }

  /** A request has been sent: wait for its words, which are added to those already there. */
  begin() {
    this.element.ariaBusy = "true";
    this.#foot.replaceChildren();
    this.#isResuming = this.#text !== "";
    this.#clock = { sentAt: performance.now(), firstAt: null, lastAt: null };
    this.#wait((seconds) => (seconds < 3 ? say("waiting") : say("waitingFor", seconds)));
  }

  /** Take one event of the chat, as described in wire.js, except its end. */
  take(event) {
    if (event.kind === "status") {
      if (event.servedBy === "pending") this.#wait(() => say("pending"));
      return;
    }
    this.#clock.firstAt ??= performance.now();
    this.#clock.lastAt = performance.now();
    if (event.kind === "text") this.#append(event.text);
    else this.#reasoning += event.text;
    this.#frame ||= requestAnimationFrame(() => this.#paintInTurn());
  }

  /** The oldest messages have been left out for the first time, or more of them: say it above the answer. */
  noteDropped() {
    this.#dropped.hidden = false;
    this.#onPaint();
  }

  /** The answer came to its end; `actions.goOn` is offered where the end was only the length limit. */
  finish(end, { goOn }) {
    const line = badge(end, this.#times());
    if (end.finish === "length") this.#end(say("length"), line, button(say("goOn"), "action", goOn));
    else this.#end(this.text || this.#reasoning ? "" : say("empty"), line);
  }

  stop() {
    this.#end(say("stopped"));
  }

  /** The answer failed; `actions.retry`, `askAnyway` and `newChat` are offered where they can help. */
  fail(error, { retry, askAnyway, newChat }) {
    this.#end("");
    const { text, isExplained } = sayError(error);
    const notice = element("div", { className: "error", role: "alert" }, element("p", {}, text));
    if (error.message && !isExplained) notice.append(element("p", { className: "detail" }, error.message));
    if (this.#text) notice.append(element("p", {}, say("incomplete")));
    const actions = [];
    // In a tab of its own: the conversation is kept in this one alone.
    if (error.isLocked) actions.push(element("a", { className: "action", href: "claim", target: "_blank" }, say("signIn")));
    if (error.isRetryable || error.isLocked) actions.push(retryButton(error.retryAfterSeconds, retry));
    if (error.code === "predicted_timeout") actions.push(button(say("askAnyway"), "action", askAnyway));
    if (error.code === "context_length_exceeded") actions.push(button(say("newChat"), "action", newChat));
    if (actions.length) notice.append(element("div", { className: "actions" }, ...actions));
    this.#foot.prepend(notice);
    this.#onPaint();
  }

  /** Forget what has arrived, before another attempt. */
  clear() {
    this.#text = "";
    this.#reasoning = "";
    this.#paint();
  }

  #append(text) {
    // A continuation starts a new word, unless one side shows that it does not.
    if (this.#isResuming && /\w$/.test(this.#text) && /^\w/.test(text)) this.#text += " ";
    this.#isResuming = false;
    this.#text += text;
  }

  #end(remark, line = null, ...actions) {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    this.#hush();
    this.#paint();
    this.element.ariaBusy = "false";

    const tools = element("div", { className: "tools" });
    if (line) tools.append(line);
    if (this.text) tools.append(copyButton(() => this.text));
    const remarks = remark ? [element("p", { className: "remark" }, remark, ...actions)] : [];
    this.#foot.replaceChildren(...remarks, tools);
    this.#onPaint();
  }

  /** Paint, unless the last paint was so slow (a long answer, an old phone) that half of the time would go into it. */
  #paintInTurn() {
    const begunAt = performance.now();
    if (begunAt < this.#restUntil) {
      this.#frame = requestAnimationFrame(() => this.#paintInTurn());
      return;
    }
    this.#frame = 0;
    this.#paint();
    this.#restUntil = performance.now() + (performance.now() - begunAt);
  }

  #paint() {
    const { thoughts, answer, isThinking } = splitThoughts(this.#text);
    this.#thoughtsText.textContent = this.#reasoning + thoughts;
    this.#thoughts.hidden = !this.#thoughtsText.textContent;
    this.#markdown.show(answer);
    if (answer && !isThinking) this.#hush();
    this.#onPaint();
  }

  #wait(words) {
    this.#hush();
    const show = () => (this.#waiting.textContent = words(Math.floor((performance.now() - this.#clock.sentAt) / 1000)));
    show();
    this.#waiting.hidden = false;
    this.#ticker = setInterval(show, 1000);
    this.#onPaint();
  }

  #hush() {
    clearInterval(this.#ticker);
    this.#waiting.hidden = true;
  }

  #times() {
    const { sentAt, firstAt, lastAt } = this.#clock;
    if (firstAt === null) return { firstWordMs: null, decodeMs: 0 };
    return { firstWordMs: firstAt - sentAt, decodeMs: lastAt - firstAt };
  }
}

/** A button that retries, once the time the daemon asked for has passed. */
function retryButton(waitSeconds, retry) {
  const made = button(say("retry"), "action", retry);
  let left = Math.ceil(waitSeconds);
  if (left === 0) return made;

  const show = () => {
    made.disabled = left > 0;
    made.textContent = left > 0 ? say("retryIn", left) : say("retry");
  };
  const timer = setInterval(() => {
    left -= 1;
    show();
    if (left === 0) clearInterval(timer);
  }, 1000);
  show();
  return made;
}
