// The list of files: filter, sort, pages, selection, uploads.
import { html, useState } from '../lib/html.js';
import { t, tn } from '../lib/i18n.js';
import { hrefOf } from '../lib/route.js';
import { Empty, Expiry, Failure, Name, Size, Status, Time } from '../ui/basics.js';
import { usePages, useRemembered, useSelection } from '../ui/hooks.js';
import { Pager, sortRows, Table } from '../ui/table.js';
import { DeleteFiles } from './delete-files.js';
import { DropArea, UploadDialog, UploadPanel } from './upload.js';

export const PURPOSES = ['assistants', 'batch', 'fine-tune', 'vision', 'user_data', 'evals'];
const OUTPUT_PURPOSES = ['assistants_output', 'batch_output', 'fine-tune-results'];

export function FilesView() {
  const [purpose, setPurpose] = useRemembered('files.purpose', '');
  const [sorted, setSorted] = useRemembered('files.sorted', { key: 'created', descending: true });
  const [chosenFiles, setChosenFiles] = useState(null);
  const [deleting, setDeleting] = useState(false);
  const selection = useSelection();
  // The server sorts by time of creation; other columns sort what the page shows.
  const order = sorted.key === 'created' && !sorted.descending ? 'asc' : 'desc';
  const list = usePages('/v1/files', { purpose, order });
  const columns = COLUMNS();
  const rows = sorted.key === 'created' ? list.rows : sortRows(list.rows, columns, sorted);
  const sort = (key) => setSorted({ key, descending: sorted.key === key ? !sorted.descending : key !== 'name' });
  const refresh = () => {
    selection.clear();
    list.reload();
  };
  return html`<${DropArea} onFiles=${setChosenFiles}>
    <header class="view-head">
      <h1>${t('Files')}</h1>
      <div class="tools">
        <label class="inline">${t('Purpose')}
          <select value=${purpose} onChange=${(event) => setPurpose(event.target.value)}>
            <option value="">${t('all')}</option>
            ${[...PURPOSES, ...OUTPUT_PURPOSES].map((name) => html`<option key=${name}>${name}</option>`)}
          </select>
        </label>
        <button type="button" class="button" onClick=${list.reload}>${t('Refresh')}</button>
        <button type="button" class="button primary" onClick=${() => setChosenFiles([])}>${t('Upload files')}</button>
      </div>
    </header>
    <${UploadPanel} />
    ${selection.size > 0 && html`<div class="selection-bar" role="group" aria-label=${t('Selection')}>
      <span>${tn(selection.size, '{n} file selected', '{n} files selected')}</span>
      <button type="button" class="button danger" onClick=${() => setDeleting(true)}>${t('Delete…')}</button>
      <button type="button" class="button" onClick=${selection.clear}>${t('Clear selection')}</button>
    </div>`}
    ${list.error && html`<${Failure} error=${list.error} retry=${list.reload} />`}
    ${list.data && rows.length === 0 && !list.error
      ? html`<${Empty}><p>${purpose ? t('There are no files with this purpose.') : t('There are no files yet.')}</p>
          <p class="quiet">${t('Drop files anywhere on this page, or choose them with the button.')}</p><//>`
      : html`<${Table}
          label=${t('Files')} columns=${columns} rows=${rows} selection=${selection} sorted=${sorted} onSort=${sort}
          nameOf=${(file) => file.filename} busy=${list.loading}
        />`}
    ${sorted.key !== 'created' && (list.hasMore || list.page > 1) && html`<p class="quiet small-print">${t('Sorted within this page.')}</p>`}
    <${Pager} page=${list.page} hasMore=${list.hasMore} busy=${list.loading} onNext=${list.next} onPrevious=${list.previous} />
    ${chosenFiles && html`<${UploadDialog} files=${chosenFiles} onClose=${() => setChosenFiles(null)} onStored=${list.reload} />`}
    ${deleting && html`<${DeleteFiles} files=${selection.rows} onClose=${() => setDeleting(false)} onDeleted=${refresh} />`}
  <//>`;
}

const COLUMNS = () => [
  {
    key: 'name', title: t('Name'), className: 'grow', sort: (file) => file.filename,
    cell: (file) => html`<a href=${hrefOf('files', file.id)}><${Name}>${file.filename}<//></a>`,
  },
  { key: 'purpose', title: t('Purpose'), className: 'wide-only', sort: (file) => file.purpose, cell: (file) => html`<code>${file.purpose}</code>` },
  { key: 'size', title: t('Size'), className: 'end', sort: (file) => file.bytes, cell: (file) => html`<${Size} bytes=${file.bytes} />` },
  { key: 'created', title: t('Created'), className: 'medium-only', sort: (file) => file.created_at, cell: (file) => html`<${Time} at=${file.created_at} />` },
  { key: 'expires', title: t('Expires'), className: 'wide-only', sort: (file) => file.expires_at, cell: (file) => html`<${Expiry} at=${file.expires_at} />` },
  {
    key: 'status', title: t('Status'), className: 'medium-only', sort: (file) => file.status,
    cell: (file) => html`<${Status} value=${file.status_details ? 'error' : file.status} title=${file.status_details} />`,
  },
];
