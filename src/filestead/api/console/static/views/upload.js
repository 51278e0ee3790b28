// Uploads: the area for dropped files, the dialog with purpose and expiry, and the panel with their progress.
import { html, useRef, useState } from '../lib/html.js';
import { formatBytes, formatDuration, formatPercent, t, tn } from '../lib/i18n.js';
import { hrefOf } from '../lib/route.js';
import { useStore } from '../lib/store.js';
import { add, cancel, clearFinished, isActive, resume, uploads } from '../lib/uploads.js';
import { messageOf, Meter, Name, Status } from '../ui/basics.js';
import { FormDialog } from '../ui/dialog.js';
import { PURPOSES } from './files.js';

const LIFETIMES = [0, 3600, 86400, 604800, 2592000];

export function DropArea({ onFiles, children }) {
  const [over, setOver] = useState(false);
  const depth = useRef(0);
  const move = (step) => (event) => {
    if (!event.dataTransfer.types.includes('Files')) return;
    event.preventDefault();
    depth.current += step;
    setOver(depth.current > 0);
  };
  const drop = (event) => {
    event.preventDefault();
    depth.current = 0;
    setOver(false);
    if (event.dataTransfer.files.length > 0) onFiles([...event.dataTransfer.files]);
  };
  return html`<div
    class="drop-area ${over ? 'over' : ''}" onDragEnter=${move(1)} onDragOver=${move(0)} onDragLeave=${move(-1)} onDrop=${drop}
  >
    ${children}
    ${over && html`<div class="drop-hint">${t('Drop to upload')}</div>`}
  </div>`;
}

export function guessPurpose(files) {
  return files.length > 0 && files.every((file) => /\.jsonl$/i.test(file.name)) ? 'batch' : 'user_data';
}

export function UploadDialog({ files, onClose, onStored, purpose: fixed }) {
  const [chosen, setChosen] = useState(files);
  const [purpose, setPurpose] = useState(fixed ?? guessPurpose(files));
  const [lifetime, setLifetime] = useState(0);
  const choose = (event) => {
    const list = [...event.target.files];
    setChosen(list);
    if (!fixed) setPurpose(guessPurpose(list));
  };
  const total = chosen.reduce((sum, file) => sum + file.size, 0);
  const submit = async () => add(chosen, { purpose, expiresAfter: lifetime || null, onDone: onStored });
  return html`<${FormDialog}
    title=${t('Upload files')} onClose=${onClose} submit=${submit} submitText=${t('Upload')} disabled=${chosen.length === 0}
  >
    <label class="field">${t('Files')}<input type="file" multiple onChange=${choose} /></label>
    ${chosen.length > 0 && html`<p>${tn(chosen.length, '{n} file, {size}', '{n} files, {size}', { size: formatBytes(total) })}</p>
      <ul class="plain short-list">${chosen.slice(0, 5).map((file, index) => html`<li key=${index}><${Name}>${file.name}<//></li>`)}
        ${chosen.length > 5 && html`<li class="quiet">…</li>`}</ul>`}
    ${!fixed && html`<label class="field">${t('Purpose')}
      <select value=${purpose} onChange=${(event) => setPurpose(event.target.value)}>
        ${PURPOSES.map((name) => html`<option key=${name}>${name}</option>`)}
      </select>
    </label>`}
    <label class="field">${t('Delete after')}
      <select value=${lifetime} onChange=${(event) => setLifetime(Number(event.target.value))}>
        ${LIFETIMES.map((seconds) => html`<option key=${seconds} value=${seconds}>
          ${seconds ? formatDuration(seconds) : t('as the server decides')}
        </option>`)}
      </select>
    </label>
  <//>`;
}

export function UploadPanel() {
  const items = useStore(uploads);
  if (items.length === 0) return null;
  const active = items.filter(isActive);
  return html`<section class="panel uploads" aria-label=${t('Uploads')}>
    <header class="panel-head">
      <h2>${t('Uploads')}</h2>
      ${active.length < items.length && html`<button type="button" class="button small" onClick=${clearFinished}>${t('Clear finished')}</button>`}
    </header>
    <ul class="plain">${items.map((item) => html`<${UploadRow} key=${item.id} item=${item} />`)}</ul>
  </section>`;
}

function UploadRow({ item }) {
  const { file, state, sent, rate } = item;
  const share = file.size === 0 ? Number(state === 'done') : sent / file.size;
  const left = rate ? t('{time} left', { time: formatDuration(Math.max(1, (file.size - sent) / rate)) }) : null;
  const progress = [
    formatPercent(share), t('{sent} of {total}', { sent: formatBytes(sent), total: formatBytes(file.size) }),
    rate && t('{rate} per second', { rate: formatBytes(rate) }), left,
  ];
  return html`<li class="upload">
    <div class="upload-line">
      ${item.result ? html`<a href=${hrefOf('files', item.result.id)}><${Name}>${file.name}<//></a>` : html`<${Name}>${file.name}<//>`}
      <span class="upload-end">
        <${Status} value=${state} />
        ${isActive(item) && html`<button type="button" class="button small" onClick=${() => cancel(item.id)}
          aria-label=${t('Cancel the upload of {name}', { name: file.name })}>${t('Cancel')}</button>`}
        ${state === 'failed' && html`<button type="button" class="button small" onClick=${() => resume(item.id)}>${t('Resume')}</button>`}
      </span>
    </div>
    ${isActive(item) && html`<${Meter} value=${share} label=${t('Upload of {name}', { name: file.name })} />
      <p class="quiet small-print">${progress.filter(Boolean).join(' · ')}</p>`}
    ${item.error && html`<p class="fault" role="alert">${messageOf(item.error)}</p>`}
  </li>`;
}
