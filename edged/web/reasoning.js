// Models that think aloud write their thoughts between <think> and </think> before the answer proper.

/** {thoughts, answer, isThinking} of a text as far as it has arrived. */
export function splitThoughts(text) {
  const opening = text.match(/^\s*<think>/);
  if (!opening) return { thoughts: "", answer: text, isThinking: false };

  const rest = text.slice(opening[0].length);
  const end = rest.indexOf("</think>");
  if (end < 0) return { thoughts: rest.trim(), answer: "", isThinking: true };
  const answer = rest.slice(end + "</think>".length).trimStart();
  return { thoughts: rest.slice(0, end).trim(), answer, isThinking: false };
}
