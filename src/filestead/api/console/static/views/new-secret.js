// What keys have in common that are made in a dialog: how long they are valid, and that the secret is shown once.
import { html } from '../lib/html.js';
import { formatDuration, t } from '../lib/i18n.js';
import { Copy } from '../ui/basics.js';
import { Dialog } from '../ui/dialog.js';

const LIFETIMES = [0, 3600, 86400, 2592000, 31536000];

/** A field of a form; `lifetimeOf` reads it. */
export function LifetimeField() {
  return html`<label class="field">${t('Valid for')}
    <select name="lifetime">${LIFETIMES.map((seconds) => html`<option key=${seconds} value=${seconds}>${seconds ? formatDuration(seconds) : t('no time limit')}</option>`)}</select>
  </label>`;
}

/** Seconds; undefined without a limit. */
export const lifetimeOf = (form) => Number(form.get('lifetime')) || undefined;

export function NewSecret({ secret, onClose }) {
  return html`<${Dialog} title=${t('The new key')} onClose=${onClose}>
    <div class="dialog-body">
      <p>${t('Copy the key now: it is shown only this once.')}</p>
      <code class="secret" dir="ltr">${secret}</code>
    </div>
    <footer class="dialog-foot"><${Copy} text=${secret} label=${t('Copy the key')} /></footer>
  <//>`;
}
