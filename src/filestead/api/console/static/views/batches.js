// The list of batches, and the dialog that creates one.
import { announce } from '../lib/announce.js';
import { getJson, postJson, send, serverHas } from '../lib/api.js';
import { ENDPOINTS, hasEnded } from '../lib/batches.js';
import { html, useEffect, useState } from '../lib/html.js';
import { formatBytes, t } from '../lib/i18n.js';
import { useLoad, usePolling } from '../lib/load.js';
import { visible } from '../lib/names.js';
import { go, hrefOf } from '../lib/route.js';
import { add } from '../lib/uploads.js';
import { Empty, Failure, messageOf, Status, Time } from '../ui/basics.js';
import { FormDialog } from '../ui/dialog.js';
import { usePages } from '../ui/hooks.js';
import { Pager, Table } from '../ui/table.js';
import { Progress } from './batch.js';
import { DropArea, UploadPanel } from './upload.js';

const POLL_MS = 2000;

export function BatchesView() {
  if (!serverHas('/v1/batches')) {
    return html`<h1>${t('Batches')}</h1>
      <p class="notice">${t('This server does not run batches: it has no /v1/batches. Batch files can still be uploaded, checked and downloaded.')}</p>`;
  }
  return html`<${List} />`;
}

function List() {
  const list = usePages('/v1/batches', {}, { size: 20 });
  const [creating, setCreating] = useState(null);
  usePolling(list.reload, POLL_MS, list.rows.some((batch) => !hasEnded(batch)));
  return html`<${DropArea} onFiles=${(files) => setCreating({ files })}>
    <header class="view-head">
      <h1>${t('Batches')}</h1>
      <div class="tools">
        <button type="button" class="button" onClick=${list.reload}>${t('Refresh')}</button>
        <button type="button" class="button primary" onClick=${() => setCreating({ files: [] })}>${t('New batch')}</button>
      </div>
    </header>
    <${UploadPanel} />
    ${list.error && html`<${Failure} error=${list.error} retry=${list.reload} />`}
    ${list.data && list.rows.length === 0 && !list.error
      ? html`<${Empty}><p>${t('There are no batches yet.')}</p><p class="quiet">${t('A batch sends every line of a JSONL file to the model and collects the responses.')}</p><//>`
      : html`<${Table} label=${t('Batches')} columns=${COLUMNS()} rows=${list.rows} busy=${list.loading} />`}
    <${Pager} page=${list.page} hasMore=${list.hasMore} busy=${list.loading} onNext=${list.next} onPrevious=${list.previous} />
    ${creating && html`<${NewBatch} dropped=${creating.files} onClose=${() => setCreating(null)} onCreated=${list.reload} />`}
  <//>`;
}

const COLUMNS = () => [
  { key: 'id', title: t('Batch'), cell: (batch) => html`<a href=${hrefOf('batches', batch.id)}><code>${batch.id}</code></a>` },
  { key: 'status', title: t('Status'), cell: (batch) => html`<${Status} value=${batch.status} />` },
  { key: 'progress', title: t('Progress'), className: 'medium-only', cell: (batch) => html`<${Progress} batch=${batch} />` },
  { key: 'endpoint', title: t('Endpoint'), className: 'wide-only', cell: (batch) => html`<code>${batch.endpoint}</code>` },
  { key: 'model', title: t('Model'), className: 'widest-only', cell: (batch) => (batch.model ? visible(batch.model) : '–') },
  { key: 'created', title: t('Created'), className: 'wide-only', cell: (batch) => html`<${Time} at=${batch.created_at} />` },
];

/** The endpoint that the first line of a file names. */
async function endpointOf(read) {
  try {
    const { url } = JSON.parse((await read()).split('\n')[0]);
    return ENDPOINTS.includes(url) ? url : null;
  } catch {
    return null;
  }
}

const START = 'bytes=0-65535';
const startOfStored = (id) => endpointOf(async () => (await send('GET', `/v1/files/${id}/content`, { headers: { range: START } })).text());
const startOfLocal = (file) => endpointOf(() => file.slice(0, 65536).text());

function NewBatch({ dropped, onClose, onCreated }) {
  const { data, error, reload } = useLoad((signal) => getJson('/v1/files', { purpose: 'batch', limit: 100 }, { signal }), []);
  const [local, setLocal] = useState(dropped[0] ?? null);
  const [stored, setStored] = useState('');
  const [endpoint, setEndpoint] = useState(ENDPOINTS[0]);
  const suggest = async (found) => setEndpoint((await found) ?? endpoint);
  useEffect(() => {
    if (local) suggest(startOfLocal(local));
  }, [local]);
  const chooseStored = (id) => {
    setStored(id);
    if (id) suggest(startOfStored(id));
  };
  const create = async (id, form) => {
    const note = form.get('description').trim();
    const body = { input_file_id: id, endpoint, completion_window: form.get('window'), metadata: note ? { description: note } : undefined };
    const batch = await postJson('/v1/batches', body);
    onCreated();
    return batch;
  };
  const submit = async (form) => {
    if (local) {
      const onDone = (file) => create(file.id, form).then(({ id }) => announce(t('The batch {id} has begun', { id })), (failure) => announce(messageOf(failure), 'error'));
      add([local], { purpose: 'batch', onDone });
    } else go('batches', (await create(stored, form)).id);
  };
  return html`<${FormDialog} title=${t('New batch')} onClose=${onClose} submit=${submit} submitText=${t('Create')} disabled=${!local && !stored}>
    <label class="field">${t('Upload a JSONL file')}
      <input type="file" accept=".jsonl" onChange=${(event) => setLocal(event.target.files[0] ?? null)} />
      ${local && html`<span class="hint"><bdi>${visible(local.name)}</bdi>, ${formatBytes(local.size)}</span>`}
    </label>
    ${error && html`<${Failure} error=${error} retry=${reload} />`}
    ${!local && html`<label class="field">${t('or a batch file of the project')}
      <select value=${stored} onChange=${(event) => chooseStored(event.target.value)}>
        <option value="">–</option>
        ${(data?.data ?? []).map((file) => html`<option key=${file.id} value=${file.id}>${visible(file.filename)} (${formatBytes(file.bytes)})</option>`)}
      </select>
    </label>`}
    <label class="field">${t('Endpoint')}
      <select value=${endpoint} onChange=${(event) => setEndpoint(event.target.value)}>
        ${ENDPOINTS.map((path) => html`<option key=${path}>${path}</option>`)}
      </select>
    </label>
    <label class="field">${t('Time limit')}<input name="window" defaultValue="24h" required pattern="[0-9]+[hd]" /></label>
    <label class="field">${t('Description')}<input name="description" maxlength="512" autocomplete="off" /></label>
  <//>`;
}
