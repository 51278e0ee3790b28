// Search in a vector store: passages with scores and attributes.
import { postJson } from '../lib/api.js';
import { html, useState } from '../lib/html.js';
import { formatScore, t, tn } from '../lib/i18n.js';
import { visible } from '../lib/names.js';
import { hrefOf } from '../lib/route.js';
import { Failure, Meter, Name } from '../ui/basics.js';
import { Attributes } from './store.js';

export function Search({ path }) {
  const [state, setState] = useState({ busy: false, results: null, error: null, query: '', ms: 0 });
  const search = async (event) => {
    event.preventDefault();
    const form = new FormData(event.target);
    const query = form.get('query').trim();
    if (!query) return;
    setState((before) => ({ ...before, busy: true, error: null }));
    const started = performance.now();
    try {
      const attribute = form.get('attribute').trim();
      const filters = attribute ? { type: 'eq', key: attribute, value: valueOf(form.get('value').trim()) } : undefined;
      const { data } = await postJson(`${path}/search`, { query, max_num_results: Number(form.get('count')), filters });
      setState({ busy: false, results: data, error: null, query, ms: performance.now() - started });
    } catch (error) {
      setState((before) => ({ ...before, busy: false, results: null, error }));
    }
  };
  return html`<section class="panel" aria-label=${t('Search')}>
    <form class="search" role="search" onSubmit=${search}>
      <label class="field grow">${t('Search')}<input type="search" name="query" maxlength="4096" autocomplete="off" /></label>
      <label class="field">${t('Results')}
        <select name="count">${[10, 20, 50].map((count) => html`<option key=${count}>${count}</option>`)}</select>
      </label>
      <button class="button primary" disabled=${state.busy}>${t('Search')}</button>
      <details class="filter">
        <summary>${t('Filter by an attribute')}</summary>
        <div class="search">
          <label class="field">${t('Attribute')}<input name="attribute" autocomplete="off" /></label>
          <label class="field">${t('equals')}<input name="value" autocomplete="off" /></label>
        </div>
      </details>
    </form>
    <div aria-live="polite">
      ${state.error && html`<${Failure} error=${state.error} />`}
      ${state.results && html`<p class="quiet">${tn(state.results.length, '{n} passage', '{n} passages')} · ${Math.round(state.ms)} ms</p>`}
    </div>
    ${state.results?.map((result, index) => html`<${Passage} key=${index} result=${result} query=${state.query} />`)}
  </section>`;
}

function valueOf(text) {
  if (text === 'true' || text === 'false') return text === 'true';
  return text !== '' && Number.isFinite(Number(text)) ? Number(text) : text;
}

function Passage({ result, query }) {
  const text = result.content.map((part) => part.text).join('\n');
  return html`<article class="passage">
    <header>
      <a href=${hrefOf('files', result.file_id)}><${Name}>${result.filename}<//></a>
      <span class="score"><${Meter} value=${result.score} label=${t('Score')} /> <span class="number">${formatScore(result.score)}</span></span>
    </header>
    <blockquote dir="auto" tabindex="0">${marked(text, query)}</blockquote>
    ${Object.keys(result.attributes ?? {}).length > 0 && html`<${Attributes} attributes=${result.attributes} />`}
  </article>`;
}

/** The text with the words of the query marked, also where only the beginning is the same. */
function marked(text, query) {
  const all = [...new Set(query.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [])].slice(0, 20);
  const long = all.filter((word) => word.length > 3); // most of the others are "the" and "of"
  const words = long.length > 0 ? long : all;
  if (words.length === 0) return visibleText(text);
  const stems = words.map((word) => word.replace(/(?<=...)(ing|ed|es|s|e)$/, ''));
  const pattern = new RegExp(`(?<![\\p{L}\\p{N}])((?:${stems.join('|')})[\\p{L}\\p{N}]*)`, 'giu');
  return visibleText(text).split(pattern).map((part, index) => (index % 2 ? html`<mark key=${index}>${part}</mark>` : part));
}

const visibleText = (text) => text.split('\n').map(visible).join('\n');
