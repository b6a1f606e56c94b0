// The quiet line under an answer: who answered, where, and how fast.

import { element } from "./dom.js";
import { say } from "./strings.js";

/** The line, from the end of a chat (see wire.js) and the page's own clock. */
export function badge(end, clock) {
  const line = element("p", { className: "badge" });
  const parts = describe(end, clock);
  // A narrow screen breaks the line between parts, not within them.
  parts.forEach((part, i) => line.append(element("span", {}, i < parts.length - 1 ? `${part} ·` : part), " "));
  return line;
}

function describe({ model, edged, usage, dropped }, clock) {
  const parts = [edged?.model ?? model, place(edged?.served_by)];
  if (dropped) parts.push(say("dropped", dropped));
  if (edged?.queue_ms >= 1000) parts.push(say("queued", Math.round(edged.queue_ms / 1000)));

  const firstWordMs = edged?.ttft_ms ?? clock.firstWordMs;
  if (firstWordMs != null) parts.push(say("firstWord", (firstWordMs / 1000).toFixed(1)));

  // The first token came with the prompt, so the rate counts those after it.
  const tokens = (usage?.completion_tokens ?? 0) - 1;
  if (tokens > 1 && clock.decodeMs > 0) parts.push(say("rate", Math.round((tokens * 1000) / clock.decodeMs)));
  return parts.filter(Boolean);
}

function place(servedBy) {
  if (!servedBy) return null;
  const [kind, name] = servedBy.split(":", 2);
  return say(kind, name) ?? servedBy;
}
