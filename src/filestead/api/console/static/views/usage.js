// Usage of the project: bytes against the quota, files by purpose, what expires soon, and whether the server is well.
import { getJson, serverHas } from '../lib/api.js';
import { html } from '../lib/html.js';
import { formatBytes, formatDuration, formatNumber, formatPercent, t, tn } from '../lib/i18n.js';
import { useLoad, usePolling } from '../lib/load.js';
import { visible } from '../lib/names.js';
import { Facts, Failure, Meter } from '../ui/basics.js';

const HEALTH_MS = 15000;
const USAGE_MS = 60000; // the server counts all files of the project

export function UsageView() {
  const usage = useLoad((signal) => (serverHas('/v1/usage') ? getJson('/v1/usage', {}, { signal }) : Promise.resolve(null)), []);
  const health = useLoad(readHealth, []);
  usePolling(usage.reload, USAGE_MS, true);
  usePolling(health.reload, HEALTH_MS, true);
  return html`
    <header class="view-head"><h1>${t('Usage')}</h1></header>
    <${Health} health=${health.data} />
    ${usage.error && html`<${Failure} error=${usage.error} retry=${usage.reload} />`}
    ${usage.data && html`<${UsageFigures} usage=${usage.data} />`}
  `;
}

async function readHealth(signal) {
  try {
    const response = await fetch('/health/ready', { signal, cache: 'no-store', credentials: 'omit' });
    const said = await response.json();
    return { ready: response.ok, message: said.error?.message, paused: said.paused_upstreams ?? [] };
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    return { ready: false, message: t('The server cannot be reached. Check the connection and try again.'), paused: [] };
  }
}

function Health({ health }) {
  const version = document.querySelector('meta[name=filestead-version]').content;
  if (!health) return html`<p class="notice">${t('Loading…')}</p>`;
  return html`<p class="notice ${health.ready ? '' : 'error'}" role="status">
    ${health.ready ? t('The server is ready: database and storage respond.') : health.message} <span class="quiet">Filestead ${version}</span>
  </p>
  ${health.paused.map(({ name, model, reason }) => html`<p class="notice error" key=${`${name} ${model}`}>
    ${t('The model server {name} receives no requests now:', { name: [name, model].filter(Boolean).map(visible).join(', ') })} <bdi dir="auto">${visible(reason)}</bdi>
  </p>`)}`;
}

export function UsageFigures({ usage }) {
  const used = usage.bytes_used + usage.bytes_reserved;
  const share = usage.bytes_limit ? used / usage.bytes_limit : null;
  const soon = usage.expiring_soon;
  return html`
    <${Facts} items=${[
      [t('Project'), html`<span class="large"><bdi>${visible(usage.project_name)}</bdi></span>`],
      [t('Stored'), html`<span class="large">${formatBytes(used)}</span>
        ${share !== null && html`<${Meter} value=${share} tone=${share > 0.9 ? 'bad' : ''} label=${t('Share of the quota')} />`}
        <p class="quiet small-print">${share === null ? t('no limit') : t('{share} of {limit}', { share: formatPercent(share), limit: formatBytes(usage.bytes_limit) })}</p>`],
      usage.uploads_per_minute !== null && [t('Uploads possible now'), html`<span class="large">${formatNumber(usage.uploads_remaining)}</span>
        <p class="quiet small-print">${t('limit: {n} per minute', { n: formatNumber(usage.uploads_per_minute) })}</p>`],
      [t('Expires within {time}', { time: formatDuration(soon.within_seconds) }), html`<span class="large">${tn(soon.files, '{n} file', '{n} files')}</span>
        <p class="quiet small-print">${formatBytes(soon.bytes)}</p>`],
    ]} />
    <section class="panel" aria-label=${t('Files by purpose')}>
      <header class="panel-head"><h2>${t('Files by purpose')}</h2></header>
      <${Purposes} files=${usage.files} />
    </section>`;
}

function Purposes({ files }) {
  if (files.length === 0) return html`<p class="quiet">${t('There are no files yet.')}</p>`;
  const most = Math.max(...files.map((each) => each.bytes), 1);
  return html`<div class="bars">${files.map((each) => html`<div key=${each.purpose}>
    <code>${each.purpose}</code>
    <${Meter} value=${each.bytes / most} label=${each.purpose} />
    <span class="number">${tn(each.files, '{n} file, {size}', '{n} files, {size}', { size: formatBytes(each.bytes) })}</span>
  </div>`)}</div>`;
}
