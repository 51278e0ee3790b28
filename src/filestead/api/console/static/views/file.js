// One file: metadata, what it begins with, and commands to get it.
import { announce } from '../lib/announce.js';
import { send, getJson } from '../lib/api.js';
import { html, useState } from '../lib/html.js';
import { formatBytes, formatNumber, t } from '../lib/i18n.js';
import { useLoad } from '../lib/load.js';
import { go, hrefOf } from '../lib/route.js';
import { fileSnippets } from '../lib/snippets.js';
import { Action, Copy, Expiry, Facts, Failure, Name, Status, Time } from '../ui/basics.js';
import { DeleteFiles } from './delete-files.js';
import { Preview } from './preview.js';

const MAX_DOWNLOAD = 1024 ** 3;

export function FileView({ id }) {
  const { data: file, error, reload } = useLoad((signal) => getJson(`/v1/files/${id}`, {}, { signal }), [id]);
  const [deleting, setDeleting] = useState(false);
  if (error && !file) return html`<${BackToFiles} /><${Failure} error=${error} retry=${reload} />`;
  if (!file) return html`<${BackToFiles} /><p class="quiet">${t('Loading…')}</p>`;
  return html`
    <${BackToFiles} />
    <header class="view-head">
      <h1><${Name}>${file.filename}<//></h1>
      <div class="tools">
        <${Action} run=${() => download(file)}>${t('Download')}<//>
        <button type="button" class="button danger" onClick=${() => setDeleting(true)}>${t('Delete…')}</button>
      </div>
    </header>
    ${file.status_details && html`<p class="notice error" dir="auto">${file.status_details}</p>`}
    <${Facts} items=${[
      [t('ID'), html`<code>${file.id}</code> <${Copy} text=${file.id} />`],
      [t('Purpose'), html`<code>${file.purpose}</code>`],
      [t('Size'), html`${formatBytes(file.bytes)}${file.bytes >= 1000 && html` <span class="quiet">(${t('{n} bytes', { n: formatNumber(file.bytes) })})</span>`}`],
      [t('Status'), html`<${Status} value=${file.status_details ? 'error' : file.status} />`],
      [t('Created'), html`<${Time} at=${file.created_at} />`],
      [t('Expires'), html`<${Expiry} at=${file.expires_at} />`],
    ]} />
    <${Preview} file=${file} />
    <${Snippets} file=${file} />
    ${deleting && html`<${DeleteFiles} files=${[file]} onClose=${() => setDeleting(false)} onDeleted=${(failures) => failures.length || go('files')} />`}
  `;
}

const BackToFiles = () => html`<p class="back"><a href=${hrefOf('files')}>${t('All files')}</a></p>`;

async function download(file) {
  if (file.bytes > MAX_DOWNLOAD) {
    announce(t('A browser holds a download in memory. Use one of the commands below for a file of this size.'), 'error');
    return;
  }
  const response = await send('GET', `/v1/files/${file.id}/content`);
  const url = URL.createObjectURL(await response.blob());
  const link = document.createElement('a');
  link.href = url;
  link.download = file.filename;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60000);
}

function Snippets({ file }) {
  const snippets = fileSnippets(file);
  const [shown, setShown] = useState('curl');
  const names = Object.keys(snippets);
  const move = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const forward = document.documentElement.dir === 'rtl' ? -step : step;
    const next = names[(names.indexOf(shown) + forward + names.length) % names.length];
    setShown(next);
    document.getElementById(`tab-${next}`).focus();
  };
  return html`<section class="panel" aria-label=${t('Get this file')}>
    <header class="panel-head">
      <h2>${t('Get this file')}</h2>
      <${Copy} text=${snippets[shown]} />
    </header>
    <div class="tabs" role="tablist" aria-label=${t('Get this file')} onKeyDown=${move}>
      ${names.map((name) => html`<button
        key=${name} id=${`tab-${name}`} type="button" role="tab" aria-selected=${name === shown} aria-controls="snippet"
        tabindex=${name === shown ? 0 : -1} onClick=${() => setShown(name)}
      >${name}</button>`)}
    </div>
    <pre id="snippet" role="tabpanel" aria-labelledby=${`tab-${shown}`} tabindex="0" dir="ltr"><code>${snippets[shown]}</code></pre>
  </section>`;
}
