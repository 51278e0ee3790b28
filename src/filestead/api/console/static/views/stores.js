import { html } from '../lib/html.js';
export const StoresView = () => html`<p>…</p>`;
