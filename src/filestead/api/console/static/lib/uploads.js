// The queue of uploads of this tab. It goes on while other views are shown.
import { ConnectionLost, serverHas } from './api.js';
import { cancelParts, PARTS_ABOVE, sendInParts } from './parts.js';
import { session } from './session.js';
import { Store } from './store.js';
import { postForm, randomToken } from './transfer.js';

const FILES_AT_ONCE = 3;
const ATTEMPTS = 6;
const MAX_PAUSE_SECONDS = 30;
const RATE_WINDOW_MS = 5000;
const REPORT_MS = 200;

/** Items {id, file, purpose, state, sent, rate, error, result}; states: waiting, sending, reconnecting, done, failed, cancelled. */
export const uploads = new Store([]);
let lastId = 0;
const whenDone = new Map();

export const isActive = (item) => ['waiting', 'sending', 'reconnecting'].includes(item.state);

function change(id, changes) {
  uploads.value = uploads.value.map((item) => (item.id === id ? { ...item, ...changes } : item));
}

const find = (id) => uploads.value.find((item) => item.id === id);

/** Add files. `onDone(file)` is called with the object of each file that is stored. */
export function add(files, { purpose, expiresAfter = null, onDone = () => {} }) {
  const items = [...files].map((file) => ({
    id: (lastId += 1),
    ...{ file, purpose, expiresAfter, token: randomToken(), controller: new AbortController() },
    ...{ state: 'waiting', sent: 0, rate: null, error: null, result: null },
  }));
  for (const item of items) whenDone.set(item.id, onDone);
  uploads.value = [...uploads.value, ...items];
  startNext();
}

export function cancel(id) {
  const item = find(id);
  if (!item || !isActive(item)) return;
  change(id, { state: 'cancelled', rate: null });
  item.controller.abort();
  cancelParts(item);
  startNext();
}

/** Try a failed upload again; parts that have arrived are not sent twice. */
export function resume(id) {
  change(id, { state: 'waiting', error: null, controller: new AbortController() });
  startNext();
}

export function clearFinished() {
  for (const item of uploads.value) if (!isActive(item)) whenDone.delete(item.id);
  uploads.value = uploads.value.filter(isActive);
}

function startNext() {
  const busy = uploads.value.filter((item) => ['sending', 'reconnecting'].includes(item.state)).length;
  for (const item of uploads.value.filter((each) => each.state === 'waiting').slice(0, FILES_AT_ONCE - busy)) run(item);
}

async function run(item) {
  change(item.id, { state: 'sending', sent: 0 });
  for (let attempt = 1; ; attempt += 1) {
    try {
      const result = await sendOnce(item);
      change(item.id, { state: 'done', sent: item.file.size, rate: null, result });
      whenDone.get(item.id)?.(result);
      break;
    } catch (error) {
      if (item.controller.signal.aborted) return;
      if (error.progressed) attempt = 1; // a connection that is cut time and again still gets there
      const temporary = error instanceof ConnectionLost || [429, 502, 503, 504].includes(error.status);
      if (!temporary || attempt >= ATTEMPTS) {
        change(item.id, { state: 'failed', rate: null, error });
        break;
      }
      change(item.id, { state: 'reconnecting', rate: null });
      await pauseUntilOnline(error.retryAfter ?? Math.min(MAX_PAUSE_SECONDS, 2 ** (attempt - 1)), item.controller.signal);
      if (item.controller.signal.aborted) return;
      change(item.id, { state: 'sending' });
    }
  }
  startNext();
}

function sendOnce(item) {
  const onProgress = meter(item.id);
  const { signal } = item.controller;
  if (item.file.size > PARTS_ABOVE && serverHas('/v1/uploads')) return sendInParts(item, { signal, onProgress });
  const form = new FormData();
  form.append('purpose', item.purpose);
  if (item.expiresAfter) {
    form.append('expires_after[anchor]', 'created_at');
    form.append('expires_after[seconds]', String(item.expiresAfter));
  }
  form.append('file', item.file, item.file.name);
  // The same token at each attempt: a file that has arrived although its response was lost is not stored twice.
  const report = (sent) => onProgress(Math.min(sent, item.file.size));
  return postForm('/v1/files', form, { signal, onProgress: report, headers: { 'idempotency-key': item.token } });
}

/** A function that takes the bytes sent so far, and updates the item with a rate over the last seconds. */
function meter(id) {
  const samples = [];
  let reported = 0;
  return (sent) => {
    const now = performance.now();
    samples.push([now, sent]);
    while (samples.length > 2 && now - samples[0][0] > RATE_WINDOW_MS) samples.shift();
    if (now - reported < REPORT_MS) return;
    reported = now;
    const [since, before] = samples[0];
    change(id, { sent, rate: now - since > 500 ? Math.max(0, ((sent - before) / (now - since)) * 1000) : null });
  };
}

/** Wait, at most so many seconds; the return of the network ends it early. */
function pauseUntilOnline(seconds, signal) {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      removeEventListener('online', end);
      resolve();
    };
    const timer = setTimeout(end, seconds * 1000);
    addEventListener('online', end);
    signal.addEventListener('abort', end);
  });
}

session.subscribe(({ key }) => {
  if (key !== null) return;
  for (const item of uploads.value) if (isActive(item)) item.controller.abort();
  uploads.value = [];
  whenDone.clear();
});

addEventListener('beforeunload', (event) => {
  if (uploads.value.some(isActive)) event.preventDefault();
});
