// Small pieces that every view uses: errors, empty states, times, sizes, names, status marks, copying.
import { announce } from '../lib/announce.js';
import { ConnectionLost } from '../lib/api.js';
import { html, useState } from '../lib/html.js';
import { formatBytes, formatExactTime, formatRelative, formatTime, t } from '../lib/i18n.js';
import { visible } from '../lib/names.js';

export function messageOf(error) {
  if (error instanceof ConnectionLost) return t('The server cannot be reached. Check the connection and try again.');
  const reference = error.requestId ? ` (${error.requestId})` : '';
  return error.status >= 500 ? `${error.message}${reference}` : error.message;
}

export function Failure({ error, retry }) {
  return html`<div class="notice error" role="alert">
    <p dir="auto">${messageOf(error)}</p>
    ${retry && html`<button type="button" class="button" onClick=${retry}>${t('Try again')}</button>`}
  </div>`;
}

export const Empty = ({ children }) => html`<div class="empty">${children}</div>`;

export const Name = ({ children }) => html`<bdi class="name" dir="auto">${visible(children)}</bdi>`;

export function Time({ at }) {
  if (!at) return html`<span class="quiet">–</span>`;
  return html`<time dateTime=${new Date(at * 1000).toISOString()} title=${formatExactTime(at)}>${formatTime(at)}</time>`;
}

export function Expiry({ at }) {
  if (!at) return html`<span class="quiet">${t('never')}</span>`;
  return html`<time dateTime=${new Date(at * 1000).toISOString()} title=${formatExactTime(at)}>${formatRelative(at)}</time>`;
}

export const Size = ({ bytes }) => html`<span class="number">${formatBytes(bytes)}</span>`;

const TONES = {
  ...{ completed: 'good', processed: 'good', uploaded: 'good', done: 'good', active: 'good' },
  ...{ failed: 'bad', error: 'bad', expired: 'bad', revoked: 'bad' },
  ...{ cancelled: 'quiet', archived: 'quiet' },
};
const STATUS_TEXTS = {
  completed: 'completed', processed: 'processed', uploaded: 'uploaded', done: 'done', active: 'active', failed: 'failed',
  error: 'error', expired: 'expired', revoked: 'revoked', cancelled: 'cancelled', archived: 'archived',
  in_progress: 'in progress', validating: 'validating', finalizing: 'finalizing', cancelling: 'cancelling',
  waiting: 'waiting', sending: 'sending', reconnecting: 'connection lost, trying again',
};

export function Status({ value, title }) {
  const tone = TONES[value] ?? 'busy';
  return html`<span class="status ${tone}" title=${title}>${t(STATUS_TEXTS[value] ?? value)}</span>`;
}

async function copyText(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  // Without TLS a browser has no clipboard for pages, but still copies a selection.
  const area = document.createElement('textarea');
  area.value = text;
  area.className = 'visually-hidden';
  (document.querySelector('dialog[open]') ?? document.body).append(area);
  area.select();
  document.execCommand('copy');
  area.remove();
  return undefined;
}

export function Copy({ text, label }) {
  const copy = async () => {
    try {
      await copyText(text);
      announce(t('Copied'));
    } catch {
      announce(t('The browser does not allow copying. Select the text instead.'), 'error');
    }
  };
  return html`<button type="button" class="button small" onClick=${copy}>${label ?? t('Copy')}</button>`;
}

/** A button that is disabled while its action runs; failures are announced. */
export function Action({ run, children, kind = '', ...rest }) {
  const [busy, setBusy] = useState(false);
  const click = async () => {
    setBusy(true);
    try {
      await run();
    } catch (error) {
      if (error.name !== 'AbortError') announce(messageOf(error), 'error');
    } finally {
      setBusy(false);
    }
  };
  return html`<button type="button" class="button ${kind}" disabled=${busy} aria-busy=${busy} onClick=${click} ...${rest}>
    ${children}
  </button>`;
}

export function Meter({ value, label, tone = '' }) {
  const share = Math.max(0, Math.min(1, value));
  return html`<div
    class="meter ${tone}" role="progressbar" aria-label=${label} aria-valuemin="0" aria-valuemax="100" aria-valuenow=${Math.round(share * 100)}
  ><span style=${{ inlineSize: `${share * 100}%` }}></span></div>`;
}

/** Pairs of a term and its value. */
export function Facts({ items }) {
  return html`<dl class="facts">
    ${items.filter(Boolean).map(([term, value]) => html`<div key=${term}><dt>${term}</dt><dd>${value}</dd></div>`)}
  </dl>`;
}
