// The list of vector stores, with creation and deletion.
import { announce } from '../lib/announce.js';
import { postJson, remove, serverHas } from '../lib/api.js';
import { html, useState } from '../lib/html.js';
import { formatNumber, t, tn } from '../lib/i18n.js';
import { usePolling } from '../lib/load.js';
import { go, hrefOf } from '../lib/route.js';
import { Empty, Expiry, Failure, Name, Size, Status, Time } from '../ui/basics.js';
import { FormDialog } from '../ui/dialog.js';
import { usePages } from '../ui/hooks.js';
import { Pager, Table } from '../ui/table.js';

const POLL_MS = 3000;

export function StoresView() {
  const list = usePages('/v1/vector_stores', {});
  const [creating, setCreating] = useState(false);
  const [deleting, setDeleting] = useState(null);
  usePolling(list.reload, POLL_MS, list.rows.some((store) => store.status === 'in_progress'));
  if (!serverHas('/v1/vector_stores')) return html`<h1>${t('Vector stores')}</h1><p class="notice">${t('This server has no vector stores.')}</p>`;
  return html`
    <header class="view-head">
      <h1>${t('Vector stores')}</h1>
      <div class="tools">
        <button type="button" class="button" onClick=${list.reload}>${t('Refresh')}</button>
        <button type="button" class="button primary" onClick=${() => setCreating(true)}>${t('New vector store')}</button>
      </div>
    </header>
    ${list.error && html`<${Failure} error=${list.error} retry=${list.reload} />`}
    ${list.data && list.rows.length === 0 && !list.error
      ? html`<${Empty}><p>${t('There are no vector stores yet.')}</p><p class="quiet">${t('A vector store is a set of files that can be searched.')}</p><//>`
      : html`<${Table} label=${t('Vector stores')} columns=${columns(setDeleting)} rows=${list.rows} busy=${list.loading} />`}
    <${Pager} page=${list.page} hasMore=${list.hasMore} busy=${list.loading} onNext=${list.next} onPrevious=${list.previous} />
    ${creating && html`<${NewStore} onClose=${() => setCreating(false)} />`}
    ${deleting && html`<${DeleteStore} store=${deleting} onClose=${() => setDeleting(null)} onDeleted=${list.reload} />`}
  `;
}

const columns = (setDeleting) => [
  {
    key: 'name', title: t('Name'), className: 'grow',
    cell: (store) => html`<a href=${hrefOf('vector-stores', store.id)}><${Name}>${store.name || store.id}<//></a>`,
  },
  { key: 'files', title: t('Files'), className: 'end', cell: (store) => html`<span class="number">${formatNumber(store.file_counts.total)}</span>` },
  { key: 'size', title: t('Size of the index'), className: 'end medium-only', cell: (store) => html`<${Size} bytes=${store.usage_bytes} />` },
  { key: 'active', title: t('Last used'), className: 'wide-only', cell: (store) => html`<${Time} at=${store.last_active_at} />` },
  { key: 'expires', title: t('Expires'), className: 'wide-only', cell: (store) => html`<${Expiry} at=${store.expires_at} />` },
  { key: 'status', title: t('Status'), className: 'medium-only', cell: (store) => html`<${Status} value=${store.status} />` },
  {
    key: 'delete', title: html`<span class="visually-hidden">${t('Actions')}</span>`, className: 'end',
    cell: (store) => html`<button
      type="button" class="button small danger" onClick=${() => setDeleting(store)} aria-label=${t('Delete {name}', { name: store.name || store.id })}
    >${t('Delete…')}</button>`,
  },
];

function NewStore({ onClose }) {
  const submit = async (form) => {
    const days = Number(form.get('days'));
    const body = { name: form.get('name').trim() || undefined, expires_after: days ? { anchor: 'last_active_at', days } : undefined };
    const store = await postJson('/v1/vector_stores', body);
    go('vector-stores', store.id);
  };
  return html`<${FormDialog} title=${t('New vector store')} onClose=${onClose} submit=${submit} submitText=${t('Create')}>
    <label class="field">${t('Name')}<input name="name" maxlength="256" autocomplete="off" /></label>
    <label class="field">${t('Days without use until it expires')}
      <input name="days" type="number" min="1" max="365" inputmode="numeric" aria-describedby="days-hint" />
      <span class="hint" id="days-hint">${t('Leave this empty for a store that does not expire.')}</span>
    </label>
  <//>`;
}

export function DeleteStore({ store, onClose, onDeleted }) {
  const submit = async () => {
    await remove(`/v1/vector_stores/${store.id}`);
    announce(t('The vector store is deleted'));
    onDeleted();
  };
  const files = store.file_counts.total;
  return html`<${FormDialog} title=${t('Delete the vector store')} onClose=${onClose} submit=${submit} submitText=${t('Delete')} danger>
    <p>${t('Delete this vector store? This cannot be undone.')} <b><${Name}>${store.name || store.id}<//></b></p>
    <div class="goes-with"><p>${tn(files, 'Its index of {n} file is deleted. The file itself stays.', 'Its index of {n} files is deleted. The files themselves stay.')}</p></div>
  <//>`;
}
