// One vector store: search, attached files with their status, usage.
import { getJson, remove } from '../lib/api.js';
import { html, useState } from '../lib/html.js';
import { formatBytes, formatNumber, t } from '../lib/i18n.js';
import { useLoad, usePolling } from '../lib/load.js';
import { go, hrefOf } from '../lib/route.js';
import { Action, Copy, Empty, Expiry, Facts, Failure, Name, Size, Status, Time } from '../ui/basics.js';
import { usePages } from '../ui/hooks.js';
import { Pager, Table } from '../ui/table.js';
import { AttachDialog } from './attach.js';
import { Search } from './search.js';
import { DeleteStore } from './stores.js';

const POLL_MS = 1500;
const STATUSES = ['in_progress', 'completed', 'failed', 'cancelled'];

export function StoreView({ id }) {
  const path = `/v1/vector_stores/${id}`;
  const { data: store, error, reload } = useLoad((signal) => getJson(path, {}, { signal }), [id]);
  const [filter, setFilter] = useState('');
  const files = usePages(`${path}/files`, { filter });
  const names = useNames(files.rows);
  const [dialog, setDialog] = useState(null);
  const refresh = () => {
    reload();
    files.reload();
  };
  usePolling(refresh, POLL_MS, (store?.file_counts.in_progress ?? 0) > 0 || files.rows.some((file) => file.status === 'in_progress'));
  const back = html`<p class="back"><a href=${hrefOf('vector-stores')}>${t('All vector stores')}</a></p>`;
  if (error && !store) return html`${back}<${Failure} error=${error} retry=${reload} />`;
  if (!store) return html`${back}<p class="quiet">${t('Loading…')}</p>`;
  const counts = store.file_counts;
  return html`
    ${back}
    <header class="view-head">
      <h1><${Name}>${store.name || store.id}<//></h1>
      <div class="tools">
        <button type="button" class="button primary" onClick=${() => setDialog('attach')}>${t('Attach files')}</button>
        <button type="button" class="button danger" onClick=${() => setDialog('delete')}>${t('Delete…')}</button>
      </div>
    </header>
    <${Facts} items=${[
      [t('ID'), html`<code>${store.id}</code> <${Copy} text=${store.id} />`],
      [t('Status'), html`<${Status} value=${store.status} />`],
      [t('Files'), html`${formatNumber(counts.total)}${counts.failed > 0 && html` <span class="fault">(${t('{n} failed', { n: formatNumber(counts.failed) })})</span>`}`],
      [t('Size of the index'), formatBytes(store.usage_bytes)],
      [t('Last used'), html`<${Time} at=${store.last_active_at} />`],
      [t('Expires'), html`<${Expiry} at=${store.expires_at} />`],
    ]} />
    <${Search} path=${path} />
    <section>
      <header class="panel-head">
        <h2>${t('Attached files')}</h2>
        <label class="inline">${t('Status')}
          <select value=${filter} onChange=${(event) => setFilter(event.target.value)}>
            <option value="">${t('all')}</option>
            ${STATUSES.map((status) => html`<option key=${status} value=${status}>${t(status.replace('_', ' '))}</option>`)}
          </select>
        </label>
      </header>
      ${files.error && html`<${Failure} error=${files.error} retry=${files.reload} />`}
      ${files.data && files.rows.length === 0
        ? html`<${Empty}><p>${filter ? t('There are no files with this status.') : t('No file is attached yet.')}</p><//>`
        : html`<${Table} label=${t('Attached files')} columns=${columns(path, names, refresh)} rows=${files.rows} />`}
      <${Pager} page=${files.page} hasMore=${files.hasMore} busy=${files.loading} onNext=${files.next} onPrevious=${files.previous} />
    </section>
    ${dialog === 'attach' && html`<${AttachDialog} path=${path} onClose=${() => setDialog(null)} onAttached=${refresh} />`}
    ${dialog === 'delete' && html`<${DeleteStore} store=${store} onClose=${() => setDialog(null)} onDeleted=${() => go('vector-stores')} />`}
  `;
}

const known = new Map();

/** Names of the files by id; an attached file itself has none. */
function useNames(rows) {
  const ids = rows.map((row) => row.id);
  useLoad(async (signal) => {
    const load = async (id) => known.set(id, (await getJson(`/v1/files/${id}`, {}, { signal })).filename);
    await Promise.allSettled(ids.filter((id) => !known.has(id)).map(load));
  }, [ids.join()]);
  return known;
}

const columns = (path, names, refresh) => [
  {
    key: 'name', title: t('Name'), className: 'grow',
    cell: (file) => html`<a href=${hrefOf('files', file.id)}><${Name}>${names.get(file.id) ?? file.id}<//></a>
      ${file.last_error && html`<p class="fault small-print" dir="auto">${file.last_error.message}</p>`}`,
  },
  { key: 'status', title: t('Status'), cell: (file) => html`<${Status} value=${file.status} />` },
  { key: 'size', title: t('Size of the index'), className: 'end medium-only', cell: (file) => html`<${Size} bytes=${file.usage_bytes} />` },
  {
    key: 'attributes', title: t('Attributes'), className: 'wide-only',
    cell: (file) => html`<${Attributes} attributes=${file.attributes} />`,
  },
  {
    key: 'detach', title: html`<span class="visually-hidden">${t('Actions')}</span>`, className: 'end',
    cell: (file) => html`<${Action}
      kind="small" aria-label=${t('Detach {name}', { name: names.get(file.id) ?? file.id })}
      run=${async () => {
        await remove(`${path}/files/${file.id}`);
        refresh();
      }}
    >${t('Detach')}<//>`,
  },
];

export function Attributes({ attributes }) {
  const pairs = Object.entries(attributes ?? {});
  if (pairs.length === 0) return html`<span class="quiet">–</span>`;
  return html`<span class="attributes">${pairs.map(([name, value]) => html`<code key=${name}><bdi>${name}</bdi>: <bdi>${String(value)}</bdi></code>`)}</span>`;
}
