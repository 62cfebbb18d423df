// The service's API: one way to call it, and whether it answers.

import { askForToken } from "./dialogs.js";

/**
 * The API is a folder above this page, or where `?api=http://host:port` says (then the service's
 * CORS rules decide).
 */
const asked = new URLSearchParams(location.search).get("api");
export const base = new URL(asked ? asked.replace(/\/*$/, "/") : "..", location.href);

const TOKEN = `dqn-scaler token for ${base.href}`;
/** Of what is read, which the service answers from memory, and of what is written. */
const READ_TIMEOUT_MS = 10_000;
const WRITE_TIMEOUT_MS = 30_000;

export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** No answer at all, as opposed to an answer that is an error. */
export class Unreachable extends Error {}

export async function get(path, query) {
  const url = new URL(path, base);
  for (const [name, value] of Object.entries(query ?? {})) {
    if (value !== undefined && value !== null && value !== "") url.searchParams.set(name, value);
  }
  return call(url, {}, READ_TIMEOUT_MS);
}

/** Hears after each write if the service takes changes at all: a message when not, else null. */
export const writes = { heard: () => {} };
const TAKES_NONE = [403, 503];

/** A write: asks for a token where the service wants one, and says plainly why it was refused. */
export async function post(path, body) {
  for (;;) {
    const token = sessionStorage.getItem(TOKEN);
    const headers = {};
    if (body !== undefined) headers["Content-Type"] = "application/json";
    if (token) headers.Authorization = `Bearer ${token}`;
    try {
      const options = { method: "POST", headers, body: JSON.stringify(body) };
      const answer = await call(new URL(path, base), options, WRITE_TIMEOUT_MS);
      writes.heard(null);
      return answer;
    } catch (error) {
      if (TAKES_NONE.includes(error.status)) writes.heard(error.message);
      if (error.status !== 401) throw error;
      sessionStorage.removeItem(TOKEN);
      const given = await askForToken(
        token ? "The service did not accept this token." : error.message,
      );
      if (!given)
        throw new ApiError(401, "Nothing was changed: the service wants a token for changes.");
      sessionStorage.setItem(TOKEN, given);
    }
  }
}

async function call(url, options, timeout) {
  let response;
  try {
    response = await fetch(url, {
      ...options,
      cache: "no-store",
      credentials: "omit",
      signal: AbortSignal.timeout(timeout),
    });
  } catch {
    throw new Unreachable(`${base.origin} does not answer`);
  }
  const answer = await response.json().catch(() => null);
  if (!response.ok)
    throw new ApiError(response.status, answer?.error ?? `HTTP status ${response.status}`);
  if (answer === null) throw new Unreachable(`${base.origin} answers, but not as dqn-scaler`);
  return answer;
}
