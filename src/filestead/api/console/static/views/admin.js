import { html } from '../lib/html.js';
export const AdminView = () => html`<p>…</p>`;
