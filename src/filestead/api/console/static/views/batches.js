import { html } from '../lib/html.js';
export const BatchesView = () => html`<p>…</p>`;
