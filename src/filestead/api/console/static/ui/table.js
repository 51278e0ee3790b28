// Tables with selection, sorting and pages.
import { html } from '../lib/html.js';
import { t } from '../lib/i18n.js';

/** Columns: {key, title, cell(row), className?, sort?: function(row)}. `sorted` is {key, descending}. */
export function Table({ label, columns, rows, keyOf = (row) => row.id, selection, sorted, onSort, nameOf, busy = false }) {
  return html`<div class="table-frame" role="region" aria-label=${label} tabindex="0">
    <table aria-busy=${busy}>
      <thead><tr>
        ${selection && html`<th class="check"><${SelectAll} rows=${rows} keyOf=${keyOf} selection=${selection} /></th>`}
        ${columns.map((column) => html`<${Head} key=${column.key} column=${column} sorted=${sorted} onSort=${onSort} />`)}
      </tr></thead>
      <tbody>
        ${rows.map((row) => html`<tr key=${keyOf(row)} class=${selection?.has(keyOf(row)) ? 'selected' : ''}>
          ${selection && html`<td class="check"><input
            type="checkbox" checked=${selection.has(keyOf(row))} aria-label=${t('Select {name}', { name: nameOf(row) })}
            onChange=${() => selection.toggle(keyOf(row), row)}
          /></td>`}
          ${columns.map((column) => html`<td key=${column.key} class=${column.className}>${column.cell(row)}</td>`)}
        </tr>`)}
      </tbody>
    </table>
  </div>`;
}

function Head({ column, sorted, onSort }) {
  if (!column.sort) return html`<th scope="col" class=${column.className}>${column.title}</th>`;
  const direction = sorted?.key === column.key ? (sorted.descending ? 'descending' : 'ascending') : 'none';
  const arrow = { ascending: '▲', descending: '▼', none: '' }[direction];
  return html`<th scope="col" class=${column.className} aria-sort=${direction}>
    <button type="button" class="sort" onClick=${() => onSort(column.key)}>
      ${column.title} <span aria-hidden="true" class="arrow">${arrow}</span>
    </button>
  </th>`;
}

function SelectAll({ rows, keyOf, selection }) {
  const chosen = rows.filter((row) => selection.has(keyOf(row))).length;
  const all = rows.length > 0 && chosen === rows.length;
  return html`<input
    type="checkbox" checked=${all} indeterminate=${chosen > 0 && !all} disabled=${rows.length === 0}
    aria-label=${t('Select all on this page')} onChange=${() => selection.set(rows, !all)}
  />`;
}

export function Pager({ page, hasMore, onPrevious, onNext, busy }) {
  if (page === 1 && !hasMore) return null;
  return html`<nav class="pager" aria-label=${t('Pages')}>
    <button type="button" class="button" disabled=${page === 1 || busy} onClick=${onPrevious}>${t('Previous')}</button>
    <span>${t('Page {page}', { page })}</span>
    <button type="button" class="button" disabled=${!hasMore || busy} onClick=${onNext}>${t('Next')}</button>
  </nav>`;
}

/** Rows in the order of a column; those without a value come last. */
export function sortRows(rows, columns, sorted) {
  const column = columns.find((each) => each.key === sorted.key);
  if (!column?.sort) return rows;
  const factor = sorted.descending ? -1 : 1;
  const compare = (a, b) => {
    if (a === null || b === null) return a === b ? 0 : a === null ? 1 : -1;
    return factor * (typeof a === 'string' ? a.localeCompare(b) : a - b);
  };
  return [...rows].sort((a, b) => compare(column.sort(a), column.sort(b)));
}
