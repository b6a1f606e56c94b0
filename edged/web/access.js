// The daemon's HTTP interface as far as it says who may do what. Every failure leaves here as a ChatError.

import { refusal, request } from "./wire.js";

/** Enter a code: {you}, and this browser is signed in. */
export const enterCode = (code, name, label) => ask("POST", "claim", { code, label, ...(name && { name }) });

/** Ask to be let in: {id, number, until_s}; the owner sees the number. */
export const knock = (label) => ask("POST", "claim/requests", { label });

/** What became of it: {you}, or {state: "waiting"}. */
export const lookAtKnock = (id) => ask("GET", `claim/requests/${encodeURIComponent(id)}`);

/** Who asks to be let in: [{number, label, address, until_s}]. */
export const listKnocks = async () => (await ask("GET", "claim/requests")).requests;

/** Let them in as `role`, or, with null, do not. */
export const answerKnock = (number, role, name) =>
  ask("POST", "claim/requests/answers", { number, role, ...(name && { name }) });

export const listUsers = async () => (await ask("GET", "users")).users;
export const changeUser = (id, changes) => ask("PATCH", `users/${id}`, changes);
export const removeUser = (id) => ask("DELETE", `users/${id}`);

/** A code for somebody: {code, url, until_s}. */
export const invite = (role, name) => ask("POST", "users/invitations", { role, ...(name && { name }) });

/** One's own browsers; for owners everybody's. */
export const listSessions = async () => (await ask("GET", "sessions")).sessions;
export const endSession = (id) => ask("DELETE", `sessions/${id}`);

export const listKeys = async () => (await ask("GET", "keys")).keys;

/** Make a key as {name, scopes, life_days, quota, ceiling} say; `key` of the answer is its text, shown this once. */
export const createKey = (wanted) => ask("POST", "keys", wanted);
export const revokeKey = (id) => ask("DELETE", `keys/${id}`);

/** What everybody may: {lan_chat: {value, locked}, …}. */
export const readChoices = async () => (await ask("GET", "settings")).access;
export const choose = async (name, value) => (await ask("PATCH", "settings", { access: { [name]: value } })).access;

async function ask(method, path, body) {
  const options = { method, cache: "no-store" };
  if (body) Object.assign(options, { headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
  const response = await request(`edged/v1/${path}`, options);
  if (!response.ok) throw await refusal(response);
  return response.status === 204 ? null : response.json();
}
