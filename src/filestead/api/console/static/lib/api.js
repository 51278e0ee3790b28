// Requests to the API with the key of the tab: errors as objects, and retries of what may be repeated.
import { session, signOut } from './session.js';

const RETRIES = 2;
const MAX_WAIT_MS = 5000;
const paths = new Set((document.querySelector('meta[name=filestead-paths]')?.content ?? '').split(' '));

/** Whether this server has an operation at the path, as in '/v1/batches/{batch_id}/retry', whatever the names in braces. */
export function serverHas(path) {
  const anonymous = (text) => text.replace(/\{\w+\}/g, '{}');
  return [...paths].some((each) => anonymous(each) === anonymous(path));
}

export class ApiError extends Error {
  constructor(status, error, requestId) {
    super(error?.message ?? `HTTP ${status}`);
    this.status = status;
    this.code = error?.code ?? null;
    this.param = error?.param ?? null;
    this.requestId = requestId;
  }

  get missingScope() {
    return this.status === 401 && this.message.includes('Missing scopes');
  }
}

/** No response at all: the server is down or the network is. */
export class ConnectionLost extends Error {}

export function headersWithKey(key = session.value.key) {
  return { authorization: `Bearer ${key}` };
}

/** Throw what an unsuccessful response says. A key that is not valid any more ends the session. */
export function errorFrom(status, text, requestId, key) {
  let body = null;
  try {
    body = JSON.parse(text);
  } catch {
    // A proxy in front sends HTML.
  }
  const error = new ApiError(status, body?.error, requestId);
  const rejected = status === 401 && (error.code === 'invalid_api_key' || !key);
  if (rejected && key === session.value.key) signOut({ ended: true });
  return error;
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Fetch; retry 429, 502 and 503 of requests that change nothing. Throws `ApiError`, `ConnectionLost`, or AbortError. */
export async function send(method, path, { query, json, headers = {}, signal, key = session.value.key } = {}) {
  const url = new URL(path, location.origin);
  for (const [name, value] of Object.entries(query ?? {})) {
    if (value !== undefined && value !== null && value !== '') url.searchParams.set(name, value);
  }
  const options = { method, signal, cache: 'no-store', credentials: 'omit', referrerPolicy: 'no-referrer' };
  // Contents come from this server, also where it would redirect to an object store.
  options.headers = { ...headersWithKey(key), 'x-filestead-no-redirect': 'true', ...headers };
  if (json !== undefined) {
    options.headers['content-type'] = 'application/json';
    options.body = JSON.stringify(json);
  }
  for (let attempt = 0; ; attempt += 1) {
    let response;
    try {
      response = await fetch(url, options);
    } catch (error) {
      if (error.name === 'AbortError') throw error;
      if (method !== 'GET' || attempt >= RETRIES) throw new ConnectionLost();
      await pause(300 * 2 ** attempt);
      continue;
    }
    if (response.ok) return response;
    const wait = Number(response.headers.get('retry-after') ?? 1) * 1000;
    if (method === 'GET' && attempt < RETRIES && [429, 502, 503].includes(response.status) && wait <= MAX_WAIT_MS) {
      await pause(wait);
      continue;
    }
    throw errorFrom(response.status, await response.text(), response.headers.get('x-request-id'), key);
  }
}

export async function getJson(path, query, options = {}) {
  return (await send('GET', path, { ...options, query })).json();
}

export async function postJson(path, json, options = {}) {
  return (await send('POST', path, { ...options, json })).json();
}

export async function remove(path, options = {}) {
  return (await send('DELETE', path, options)).json();
}

/** Yield the objects of all pages of a list; at most `max` of them. */
export async function* listAll(path, query, max = 10000, options = {}) {
  let after;
  for (let count = 0; count < max; ) {
    const page = await getJson(path, { ...query, after }, options);
    for (const item of page.data) {
      if (count >= max) return;
      count += 1;
      yield item;
    }
    if (!page.has_more || page.data.length === 0) return;
    after = page.last_id ?? page.data.at(-1).id;
  }
}

/** Run an asynchronous function for all items, so many at a time. */
export async function inParallel(items, limit, work) {
  const queue = [...items];
  const worker = async () => {
    while (queue.length > 0) await work(queue.shift());
  };
  await Promise.all(Array.from({ length: Math.min(limit, queue.length) }, worker));
}
