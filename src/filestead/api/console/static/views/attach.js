// Files for a vector store: chosen among those of the project, or uploaded and attached at once.
import { announce } from '../lib/announce.js';
import { getJson, postJson } from '../lib/api.js';
import { html, useState } from '../lib/html.js';
import { formatBytes, t, tn } from '../lib/i18n.js';
import { useLoad } from '../lib/load.js';
import { extensionOf } from '../lib/names.js';
import { add } from '../lib/uploads.js';
import { Failure, messageOf, Name } from '../ui/basics.js';
import { FormDialog } from '../ui/dialog.js';
import { useSelection } from '../ui/hooks.js';

const SHOWN = 100;
const INDEXED = new Set(
  'txt md json tex c cpp cs css go java js php py rb sh ts html pdf docx pptx'.split(' '),
);

/** "author: ada" on each line; numbers and booleans become such values. */
function parseAttributes(text) {
  const pairs = text.split('\n').map((line) => line.trim()).filter(Boolean);
  return Object.fromEntries(pairs.map((line) => {
    const colon = line.indexOf(':');
    if (colon < 1) throw new Error(t('An attribute is written as name: value'));
    const value = line.slice(colon + 1).trim();
    if (value === 'true' || value === 'false') return [line.slice(0, colon).trim(), value === 'true'];
    return [line.slice(0, colon).trim(), value !== '' && Number.isFinite(Number(value)) ? Number(value) : value];
  }));
}

export function AttachDialog({ path, onClose, onAttached }) {
  const selection = useSelection();
  const [local, setLocal] = useState([]);
  const [wanted, setWanted] = useState('');
  const { data, error, reload } = useLoad((signal) => getJson('/v1/files', { limit: SHOWN }, { signal }), []);
  const matching = (data?.data ?? []).filter((file) => INDEXED.has(extensionOf(file.filename)))
    .filter((file) => file.filename.toLowerCase().includes(wanted.toLowerCase()));
  const submit = async (form) => {
    const attributes = parseAttributes(form.get('attributes'));
    const ids = selection.rows.map((file) => file.id);
    const other = form.get('id').trim();
    if (other) ids.push(other);
    if (ids.length > 0) {
      await postJson(`${path}/file_batches`, { file_ids: ids, attributes });
      announce(tn(ids.length, '{n} file is being indexed', '{n} files are being indexed'));
      onAttached();
    }
    if (local.length > 0) add(local, { purpose: 'assistants', onDone: (file) => attachOne(path, file, attributes, onAttached) });
    if (ids.length === 0 && local.length === 0) throw new Error(t('Choose at least one file.'));
  };
  return html`<${FormDialog} title=${t('Attach files')} onClose=${onClose} submit=${submit} submitText=${t('Attach')} wide>
    <label class="field">${t('Upload new files')}<input type="file" multiple onChange=${(event) => setLocal([...event.target.files])} /></label>
    <fieldset>
      <legend>${t('Files of the project')}</legend>
      <label class="field">${t('Filter by name')}<input value=${wanted} onInput=${(event) => setWanted(event.target.value)} autocomplete="off" /></label>
      ${error && html`<${Failure} error=${error} retry=${reload} />`}
      <ul class="plain short-list">
        ${matching.map((file) => html`<li key=${file.id}><label>
          <input type="checkbox" checked=${selection.has(file.id)} onChange=${() => selection.toggle(file.id, file)} />
          <${Name}>${file.filename}<//> <span class="quiet">${formatBytes(file.bytes)}</span>
        </label></li>`)}
        ${data && matching.length === 0 && html`<li class="quiet">${t('No file fits.')}</li>`}
      </ul>
      ${data?.has_more && html`<p class="quiet small-print">${t('The newest {n} files are offered here.', { n: SHOWN })}</p>`}
      <label class="field">${t('or the ID of a file')}<input name="id" autocomplete="off" spellcheck="false" placeholder="file-…" /></label>
    </fieldset>
    <label class="field">${t('Attributes')}
      <textarea name="attributes" rows="3" spellcheck="false" aria-describedby="attributes-hint"></textarea>
      <span class="hint" id="attributes-hint">${t('One on each line, as in author: ada. Searches can filter by them.')}</span>
    </label>
  <//>`;
}

async function attachOne(path, file, attributes, onAttached) {
  try {
    await postJson(`${path}/files`, { file_id: file.id, attributes });
    onAttached();
  } catch (error) {
    announce(`${file.filename}: ${messageOf(error)}`, 'error');
  }
}
