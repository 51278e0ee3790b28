import { html } from '../lib/html.js';
export const BatchView = () => html`<p>…</p>`;
