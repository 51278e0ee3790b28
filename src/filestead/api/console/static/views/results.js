// Results of a batch as a table, and failed lines counted by kind; both also while the batch runs.
import { answerOf, faultKind, faultText, hasEnded, readResults, tokensOf } from '../lib/batches.js';
import { html, useEffect, useRef, useState } from '../lib/html.js';
import { formatNumber, formatSeconds, t, tn } from '../lib/i18n.js';
import { useLoad, usePolling } from '../lib/load.js';
import { visible } from '../lib/names.js';
import { Failure } from '../ui/basics.js';
import { Table } from '../ui/table.js';

const BLOCK = 64 * 1024;
const FAULT_BYTES = 2 * 1024 * 1024;
const POLL_MS = 3000;
const SHOWN_CHARACTERS = 600;

export function Faults({ batch }) {
  const { data, error, reload } = useLoad((signal) => readResults(batch, 'errors', 0, FAULT_BYTES, signal), [batch.id, batch.error_file_id, batch.request_counts.failed]);
  if (error) return html`<${Failure} error=${error} retry=${reload} />`;
  if (!data || data.lines.length === 0) return null;
  const kinds = new Map();
  for (const line of data.lines) {
    const kind = faultKind(line);
    kinds.set(kind, { count: (kinds.get(kind)?.count ?? 0) + 1, example: kinds.get(kind)?.example ?? line });
  }
  const sorted = [...kinds].sort((a, b) => b[1].count - a[1].count);
  return html`<section class="panel" aria-label=${t('Failed lines by kind')}>
    <header class="panel-head"><h2>${t('Failed lines by kind')}</h2></header>
    <dl class="kinds">${sorted.map(([kind, { count, example }]) => html`<div key=${kind}>
      <dt><code>${visible(kind)}</code> <b>${formatNumber(count)}</b></dt>
      <dd class="quiet"><bdi dir="auto">${visible(faultText(example).slice(0, SHOWN_CHARACTERS))}</bdi> <span>(${t('for example {id}', { id: visible(example.custom_id) })})</span></dd>
    </div>`)}</dl>
    ${!data.complete && html`<p class="quiet small-print">${t('The beginning of the error file was counted.')}</p>`}
  </section>`;
}

export function Results({ batch }) {
  const [state, setState] = useState({ lines: [], next: 0, complete: false, error: null, busy: false });
  const latest = useRef(state);
  latest.current = state;
  const more = async () => {
    if (latest.current.busy) return;
    setState((before) => ({ ...before, busy: true }));
    try {
      const { lines, next, complete } = await readResults(batch, 'output', latest.current.next, BLOCK);
      setState((before) => ({ lines: [...before.lines, ...lines], next, complete, error: null, busy: false }));
    } catch (error) {
      setState((before) => ({ ...before, error, busy: false }));
    }
  };
  useEffect(() => {
    more();
  }, [batch.id]);
  // Until there is a block of results, new ones appear by themselves.
  usePolling(more, POLL_MS, !hasEnded(batch) && state.next < BLOCK);
  if (state.error) return html`<${Failure} error=${state.error} retry=${more} />`;
  if (state.lines.length === 0) return null;
  return html`<section>
    <header class="panel-head"><h2>${t('Results')}</h2><span class="quiet">${tn(state.lines.length, '{n} line shown', '{n} lines shown')}</span></header>
    <${Table} label=${t('Results')} columns=${COLUMNS()} rows=${state.lines} keyOf=${(line) => line.id} />
    ${!state.complete && html`<p class="pager"><button type="button" class="button" disabled=${state.busy} onClick=${more}>${t('Show more')}</button></p>`}
  </section>`;
}

const COLUMNS = () => [
  { key: 'custom', title: 'custom_id', cell: (line) => html`<code dir="auto">${visible(line.custom_id)}</code>` },
  { key: 'answer', title: t('Response'), className: 'grow', cell: (line) => html`<${Answer} text=${answerOf(line)} />` },
  { key: 'tokens', title: t('Tokens'), className: 'end medium-only', cell: (line) => html`<span class="number">${tokensOf(line) === null ? '–' : formatNumber(tokensOf(line))}</span>` },
  { key: 'latency', title: t('Latency'), className: 'end medium-only', cell: (line) => html`<span class="number">${line.latency_ms === undefined ? '–' : formatSeconds(line.latency_ms / 1000)}</span>` },
];

const Answer = ({ text }) => {
  const shown = text.split('\n').map(visible).join('\n');
  return html`<span class="answer" dir="auto">${shown.slice(0, SHOWN_CHARACTERS)}${shown.length > SHOWN_CHARACTERS && '…'}</span>`;
};
