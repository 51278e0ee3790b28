// One batch: progress, pace, faults by kind, results; cancel and retry.
import { announce } from '../lib/announce.js';
import { postJson, send, serverHas } from '../lib/api.js';
import { canCancel, hasEnded, notePace, parseParallelism, recentRate, unfinished } from '../lib/batches.js';
import { html } from '../lib/html.js';
import { formatDuration, formatNumber, formatPercent, formatShort, t, tn } from '../lib/i18n.js';
import { useLoad, usePolling } from '../lib/load.js';
import { visible } from '../lib/names.js';
import { go, hrefOf } from '../lib/route.js';
import { Action, Copy, Facts, Failure, Status, Time } from '../ui/basics.js';
import { Faults, Results } from './results.js';

const POLL_MS = 1500;

export function BatchView({ id }) {
  const { data, error, reload } = useLoad((signal) => loadBatch(id, signal), [id]);
  const batch = data?.batch;
  usePolling(reload, POLL_MS, batch !== undefined && !hasEnded(batch));
  const back = html`<p class="back"><a href=${hrefOf('batches')}>${t('All batches')}</a></p>`;
  if (error && !batch) return html`${back}<${Failure} error=${error} retry=${reload} />`;
  if (!batch) return html`${back}<p class="quiet">${t('Loading…')}</p>`;
  return html`
    ${back}
    <header class="view-head">
      <h1>${t('Batch')} <code>${batch.id}</code></h1>
      <div class="tools">
        <${Copy} text=${batch.id} label=${t('Copy ID')} />
        ${canCancel(batch) && html`<${Action} kind="danger" run=${() => cancel(batch, reload)}>${t('Cancel the batch')}<//>`}
        ${canRetry(batch) && html`<${Action} kind="primary" run=${() => retry(batch)}>${t('Retry what failed')}<//>`}
      </div>
    </header>
    ${error && html`<${Failure} error=${error} retry=${reload} />`}
    <section class="panel" aria-label=${t('Progress')}>
      <header class="panel-head"><h2>${t('Progress')} <${Status} value=${batch.status} /></h2></header>
      <${Progress} batch=${batch} large />
      <${Pace} batch=${batch} eta=${data.eta} parallelism=${data.parallelism} />
      ${data.paused && html`<p class="notice" role="status">${t('Why it waits:')} <bdi dir="auto">${visible(data.paused)}</bdi></p>`}
    </section>
    ${batch.errors?.data.length > 0 && html`<${InputFaults} errors=${batch.errors.data} />`}
    <${Details} batch=${batch} />
    <${Faults} key=${`faults ${batch.status}`} batch=${batch} />
    <${Results} key=${`results ${hasEnded(batch)}`} batch=${batch} />
  `;
}

async function loadBatch(id, signal) {
  const response = await send('GET', `/v1/batches/${encodeURIComponent(id)}`, { signal });
  const batch = await response.json();
  const eta = Number.parseFloat(response.headers.get('x-filestead-batch-eta') ?? '');
  const parallelism = parseParallelism(response.headers.get('x-filestead-batch-parallelism'));
  const paused = response.headers.get('x-filestead-batch-paused');
  return { batch, eta: Number.isFinite(eta) ? eta : null, parallelism, paused };
}

const canRetry = (batch) => hasEnded(batch) && unfinished(batch) > 0 && batch.status !== 'failed' && serverHas('/v1/batches/{batch_id}/retry');

async function cancel(batch, reload) {
  await postJson(`/v1/batches/${batch.id}/cancel`, undefined);
  reload();
}

async function retry(batch) {
  const made = await postJson(`/v1/batches/${batch.id}/retry`, undefined);
  announce(t('A new batch repeats what failed'));
  go('batches', made.id);
}

export function Progress({ batch, large = false }) {
  const { total, completed, failed } = batch.request_counts;
  const share = (count) => (total ? `${(count / total) * 100}%` : '0%');
  const done = total ? (completed + failed) / total : 0;
  const text = t('{done} of {total}', { done: formatNumber(completed + failed), total: formatNumber(total) });
  return html`<div class="progress">
    <div class="meter stacked" role="progressbar" aria-label=${t('Progress')} aria-valuemin="0" aria-valuemax="100" aria-valuenow=${Math.round(done * 100)} aria-valuetext=${text}>
      <span style=${{ inlineSize: share(completed) }}></span><span class="failed" style=${{ inlineSize: share(failed) }}></span>
    </div>
    <span class="small-print quiet number">${text}${large && total > 0 && ` · ${formatPercent(done)}`}
      ${failed > 0 && html` · <span class="fault">${tn(failed, '{n} failed', '{n} failed')}</span>`}</span>
  </div>`;
}

function Pace({ batch, eta, parallelism }) {
  const points = notePace(batch, parallelism);
  if (batch.status !== 'in_progress' && points.length < 3) return null;
  const rate = recentRate(batch.id);
  const { total, completed, failed } = batch.request_counts;
  const left = eta ?? (rate ? (total - completed - failed) / rate : null);
  const facts = [
    rate !== null && t('{rate} lines per second', { rate: formatShort(rate) }),
    parallelism && t('{count} lines in flight, limit {limit}', { count: formatNumber(parallelism.inFlight), limit: formatNumber(parallelism.limit) }),
    left !== null && !hasEnded(batch) && t('{time} left', { time: formatDuration(Math.max(1, left)) }),
  ].filter(Boolean);
  return html`<p class="legend">${facts.map((text) => html`<span key=${text}>${text}</span>`)}</p>
    ${points.length > 2 && html`<${Chart} points=${points} />`}`;
}

// Each line has an axis of its own: lines per second at the start, lines in flight at the end.
function Chart({ points }) {
  const width = points.at(-1).seconds || 1;
  const pace = scaled(points, (point) => point.perSecond);
  const flight = scaled(points, (point) => point.parallelism?.inFlight);
  const curves = [
    { kind: 'pace', label: t('Lines per second since this page is open'), ...pace },
    flight && { kind: 'flight', label: t('Lines in flight'), ...flight },
  ].filter(Boolean);
  const legend = ({ label, highest }) => `${label} · ${t('highest: {rate}', { rate: formatShort(highest) })}`;
  return html`<figure class="plain">
    <div class="plot" aria-hidden="true">${curves.map(({ kind, highest }) => html`
      <div key=${kind} class="axis ${kind}"><span>${formatShort(highest)}</span><span>${formatShort(0)}</span></div>`)}
    </div>
    <svg class="chart" viewBox="0 0 100 60" preserveAspectRatio="none" role="img" aria-label=${curves.map(legend).join('; ')}>
      ${curves.map(({ kind, values }) => html`<path key=${kind} class=${kind} d=${pathOf(points, values, width)} />`)}
    </svg>
    <figcaption class="small-print quiet legend">
      ${curves.map((curve) => html`<span key=${curve.kind}><i class="key ${curve.kind}"></i>${legend(curve)}</span>`)}
    </figcaption>
  </figure>`;
}

/** The values as shares of the highest; null if there are none. */
function scaled(points, valueOf) {
  const found = points.map(valueOf);
  const known = found.filter((value) => value !== undefined);
  const highest = Math.max(...known, 1);
  return known.length > 1 ? { highest, values: found.map((value) => (value === undefined ? null : value / highest)) } : null;
}

function pathOf(points, values, width) {
  const at = (index) => `${((points[index].seconds / width) * 100).toFixed(2)} ${(58 - values[index] * 54).toFixed(2)}`;
  return values.map((value, index) => (value === null ? '' : `${(values[index - 1] ?? null) === null ? 'M' : 'L'}${at(index)}`)).join('');
}

function InputFaults({ errors }) {
  return html`<section class="panel" aria-label=${t('Faults of the input file')}>
    <header class="panel-head"><h2>${t('Faults of the input file')}</h2></header>
    <p>${t('Nothing was run. Correct these lines and create a new batch.')}</p>
    <ul>${errors.slice(0, 100).map((error, index) => html`<li key=${index} class="fault">
      ${error.line !== null && html`<b>${t('Line {line}', { line: formatNumber(error.line) })}</b> `}<bdi dir="auto">${visible(error.message)}</bdi> <code>${error.code}</code>
    </li>`)}</ul>
  </section>`;
}

function Details({ batch }) {
  const file = (id) => (id ? html`<a href=${hrefOf('files', id)}><code>${id}</code></a>` : '–');
  const ended = batch.completed_at ?? batch.failed_at ?? batch.expired_at ?? batch.cancelled_at;
  return html`<${Facts} items=${[
    [t('Endpoint'), html`<code>${batch.endpoint}</code>`],
    [t('Model'), batch.model ? visible(batch.model) : '–'],
    [t('Tokens'), formatNumber(batch.usage?.total_tokens ?? 0)],
    [t('Input file'), file(batch.input_file_id)],
    [t('Output file'), file(batch.output_file_id)],
    [t('Error file'), file(batch.error_file_id)],
    [t('Created'), html`<${Time} at=${batch.created_at} />`],
    ended ? [t('Ended'), html`<${Time} at=${ended} />`] : [t('Must end by'), html`<${Time} at=${batch.expires_at} />`],
    batch.metadata?.description && [t('Description'), visible(batch.metadata.description)],
  ]} />`;
}
