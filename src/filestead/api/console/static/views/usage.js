import { html } from '../lib/html.js';
export const UsageView = () => html`<p>…</p>`;
