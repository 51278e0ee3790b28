// One confirmation for all chosen files. It says in which vector stores they are, since they leave those too.
import { announce } from '../lib/announce.js';
import { ApiError, getJson, inParallel, listAll, remove, serverHas } from '../lib/api.js';
import { html } from '../lib/html.js';
import { formatBytes, t, tn } from '../lib/i18n.js';
import { useLoad } from '../lib/load.js';
import { messageOf, Name } from '../ui/basics.js';
import { FormDialog } from '../ui/dialog.js';

const AT_ONCE = 6;
const MAX_STORES = 100;
const MAX_LOOKUPS = 400;

/** Stores that have any of the files: [{store, count}], and whether all stores were looked at. */
async function storesWith(files, signal) {
  const found = [];
  let lookups = MAX_LOOKUPS;
  let complete = true;
  const stores = [];
  for await (const store of listAll('/v1/vector_stores', { limit: 100 }, MAX_STORES + 1, { signal })) stores.push(store);
  if (stores.length > MAX_STORES) complete = false;
  const ids = new Set(files.map((file) => file.id));
  await inParallel(stores.slice(0, MAX_STORES).filter((store) => store.file_counts.total > 0), AT_ONCE, async (store) => {
    const listing = Math.ceil(store.file_counts.total / 100);
    lookups -= Math.min(listing, files.length);
    if (lookups < 0) {
      complete = false;
      return;
    }
    const count = listing <= files.length ? await countByList(store, ids, signal) : await countByFile(store, files, signal);
    if (count > 0) found.push({ store, count });
  });
  return { found, complete };
}

async function countByList(store, ids, signal) {
  let count = 0;
  for await (const file of listAll(`/v1/vector_stores/${store.id}/files`, { limit: 100 }, 10000, { signal })) count += ids.has(file.id);
  return count;
}

async function countByFile(store, files, signal) {
  let count = 0;
  for (const file of files) {
    try {
      await getJson(`/v1/vector_stores/${store.id}/files/${file.id}`, {}, { signal });
      count += 1;
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 404) throw error;
    }
  }
  return count;
}

async function deleteAll(files) {
  const failures = [];
  await inParallel(files, AT_ONCE, async (file) => {
    try {
      await remove(`/v1/files/${file.id}`);
    } catch (error) {
      if (error.status !== 404) failures.push(error); // it was deleted elsewhere
    }
  });
  return failures;
}

export function DeleteFiles({ files, onClose, onDeleted }) {
  const hasStores = serverHas('/v1/vector_stores');
  const stores = useLoad((signal) => (hasStores ? storesWith(files, signal) : Promise.resolve({ found: [], complete: true })), []);
  const total = files.reduce((sum, file) => sum + file.bytes, 0);
  const submit = async () => {
    const failures = await deleteAll(files);
    const deleted = files.length - failures.length;
    if (deleted > 0) announce(tn(deleted, '{n} file deleted', '{n} files deleted'));
    onDeleted(failures);
    if (failures.length > 0) throw failures[0];
  };
  return html`<${FormDialog} title=${t('Delete files')} onClose=${onClose} submit=${submit} submitText=${t('Delete')} danger>
    <p>${tn(files.length, 'Delete {n} file ({size})? This cannot be undone.', 'Delete {n} files ({size})? This cannot be undone.', { size: formatBytes(total) })}</p>
    <ul class="plain short-list">
      ${files.slice(0, 8).map((file) => html`<li key=${file.id}><${Name}>${file.filename}<//></li>`)}
      ${files.length > 8 && html`<li class="quiet">${tn(files.length - 8, 'and {n} more', 'and {n} more')}</li>`}
    </ul>
    ${hasStores && html`<div class="goes-with" aria-live="polite"><${Stores} ...${stores} /></div>`}
  <//>`;
}

function Stores({ data, error, loading }) {
  if (error) return html`<p>${t('Files are removed from every vector store. Which ones could not be found out:')} ${messageOf(error)}</p>`;
  if (loading) return html`<p class="quiet">${t('Looking for vector stores with these files…')}</p>`;
  if (data.found.length === 0 && data.complete) return html`<p>${t('The files are in no vector store.')}</p>`;
  return html`<p>${t('They are also removed from these vector stores, with their index:')}</p>
    <ul>${data.found.map(({ store, count }) => html`<li key=${store.id}>
      <${Name}>${store.name || store.id}<//>: ${tn(count, '{n} file', '{n} files')}
    </li>`)}</ul>
    ${!data.complete && html`<p class="quiet">${t('Not all vector stores were looked at; there may be more.')}</p>`}`;
}
