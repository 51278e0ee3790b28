import { html } from '../lib/html.js';
export const StoreView = () => html`<p>…</p>`;
