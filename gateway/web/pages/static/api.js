// One door to the gateway: the key goes out with each call, faults come back as sentences.

import { askForKey, storedKey } from './key.js';

/** The gateway's own address, also where a proxy serves it under a path. */
export const BASE = new URL('.', document.baseURI);

/** A fault with a message for people; `param` names the request's field it lies in, or null. */
export class Refusal extends Error {
  constructor(message, { status = 0, param = null } = {}) {
    super(message);
    this.status = status;
    this.param = param;
  }
}

/**
 * Fetch `path` below the gateway's address. A 401 asks for a key and tries again.
 * Throws a Refusal for any answer but success, and AbortError when cancelled.
 */
export async function call(path, options = {}) {
  const response = await reach(path, options);
  if (response.ok) return response;
  const refusal = await refusalOf(response);
  if (response.status === 401 && await askForKey(refusal.message)) return call(path, options);
  throw refusal;
}

async function reach(path, options) {
  const headers = new Headers(options.headers);
  const key = storedKey();
  if (key) headers.set('Authorization', `Bearer ${key}`);
  try {
    return await fetch(new URL(path, BASE), { ...options, headers });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Refusal('The gateway does not answer. Is it still running?');
  }
}

async function refusalOf(response) {
  const body = await response.json().catch(() => ({}));
  const said = body.error?.message ?? `The gateway answered with status ${response.status}.`;
  const wait = Number(response.headers.get('retry-after'));
  const hint = wait > 0 ? ` Try again in ${wait} s.` : '';
  return new Refusal(said + hint, { status: response.status, param: body.error?.param ?? null });
}
