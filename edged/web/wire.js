// The daemon's HTTP interface as the page sees it: who asks, models, readiness, and one streamed chat.
// Every failure leaves here as a ChatError; nothing here touches the document.

/**
 * A failure the person is told about. `code` is the daemon's, or "network" or "interrupted";
 * `promptTokens` and `contextTokens` are known where the conversation was too long.
 */
export class ChatError extends Error {
  constructor(code, message = "", { retryAfterSeconds = 0, isRetryable = true, cause, promptTokens, contextTokens } = {}) {
    super(message, { cause });
    Object.assign(this, { code, retryAfterSeconds, isRetryable, promptTokens, contextTokens });
  }

  /** Whether the way on is to be let in, at `claim`. */
  get isLocked() {
    return this.code === "unauthorized" || this.code === "claim_required";
  }
}

// An hour, the longest that the daemon takes: who says "ask anyway" wants to wait.
const LONGEST_WAIT_MS = 3_600_000;

/** Whose device this is and who asks: {name, claimed, lan_chat, supervised, you, may, transport, …}. */
export async function whoAsks() {
  const response = await request("edged/v1/claim", { cache: "no-store" });
  if (!response.ok) throw await refusal(response);
  return response.json();
}

/** The names of the models that can be talked to. */
export async function listModels() {
  const response = await request("v1/models");
  if (!response.ok) throw await refusal(response);
  const models = (await response.json()).data;
  return models.filter((model) => model.edged?.capabilities?.includes("chat") ?? true).map((model) => model.id);
}

/** null when a question sent now would be answered, else what the daemon says about its loading. */
export async function readiness() {
  const response = await request("readyz", { cache: "no-store" });
  const body = await response.json().catch(() => ({})); // read also if it says nothing: else the connection stays taken
  if (response.ok) return null;
  const code = body.error?.code ?? body.code ?? "model_loading";
  const { progress = null, eta_s: etaSeconds = null } = { ...body, ...body.error };
  return { code, progress, etaSeconds, retryAfterSeconds: retryAfter(response) };
}

/**
 * One chat, as events in order:
 * {kind: "status", servedBy, dropped}, then any number of {kind: "text" | "reasoning", text},
 * then {kind: "end", finish, model, usage, edged, dropped}. Throws ChatError when the answer does not reach its end.
 * `dropped` counts the oldest messages that no longer fit the model's context and were left out; null: not known yet.
 * A patient question is not refused for the time that it would wait.
 */
export async function* chat({ model, messages, signal, isPatient = false }) {
  const body = { messages, stream: true, stream_options: { include_usage: true } };
  if (model) body.model = model;
  const response = await request("v1/chat/completions", {
    method: "POST",
    headers: {
      "Content-Type": "application/json",
      "X-Edged-Overflow": "drop",
      ...(isPatient && { "X-Edged-Deadline-Ms": String(LONGEST_WAIT_MS) }),
    },
    body: JSON.stringify(body),
    signal,
  });
  if (!response.ok) throw await refusal(response);
  const servedBy = response.headers.get("X-Edged-Served-By");
  let dropped = Number(response.headers.get("X-Edged-Dropped-Messages")) || 0;
  yield { kind: "status", servedBy, dropped: servedBy === "pending" ? null : dropped };

  const end = { kind: "end", finish: null, model: null, usage: null, edged: null };
  for await (const data of serverSentEvents(response.body)) {
    if (data === "[DONE]") break;
    const chunk = parseChunk(data);
    end.model = chunk.model ?? end.model;
    end.usage = chunk.usage ?? end.usage;
    end.edged = chunk.edged ?? end.edged;

    const choice = chunk.choices?.[0];
    if (choice?.delta?.reasoning_content) yield { kind: "reasoning", text: choice.delta.reasoning_content };
    if (choice?.delta?.content) yield { kind: "text", text: choice.delta.content };
    end.finish = choice?.finish_reason ?? end.finish;
  }
  if (end.finish === null) throw new ChatError("interrupted");
  // Headers that left before anybody answered said nothing of it.
  dropped = end.edged?.dropped_messages ?? dropped;
  yield { ...end, dropped };
}

/** An answer of the daemon, whatever its status. */
export async function request(path, options) {
  try {
    return await fetch(path, options);
  } catch (problem) {
    throw new ChatError("network", "", { cause: problem });
  }
}

/** What an answer that is none says. */
export async function refusal(response) {
  const body = await response.json().catch(() => ({}));
  const isRetryable = response.status === 429 || response.status >= 500;
  const error = { message: `HTTP ${response.status}`, retry_after_s: retryAfter(response), ...body.error };
  return chatError(error, isRetryable);
}

/** The daemon's error object, from a body or from a stream, as a ChatError. */
function chatError({ code, message, retry_after_s, n_prompt_tokens, n_ctx }, isRetryable = true) {
  return new ChatError(code ?? "other", message ?? "", {
    retryAfterSeconds: retry_after_s ?? 0,
    isRetryable,
    promptTokens: n_prompt_tokens,
    contextTokens: n_ctx,
  });
}

function retryAfter(response) {
  return Math.max(0, Number(response.headers.get("Retry-After")) || 0);
}

function parseChunk(data) {
  let chunk;
  try {
    chunk = JSON.parse(data);
  } catch {
    throw new ChatError("interrupted");
  }
  if (chunk.error) throw chatError(chunk.error, chunk.error.type !== "invalid_request_error");
  return chunk;
}

/** The data of each event. Comments (the daemon's heartbeats) and other fields are passed over. */
async function* serverSentEvents(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const lines = (rest + value).split(/\r?\n/);
      rest = lines.pop();
      for (const line of lines) if (line.startsWith("data:")) yield line.slice("data:".length).trim();
    }
  } catch (problem) {
    if (problem instanceof ChatError) throw problem;
    throw new ChatError("interrupted", "", { cause: problem });
  } finally {
    // Also when the caller stops listening: the daemon sees the connection close and frees the model.
    reader.cancel().catch(() => {});
  }
}
