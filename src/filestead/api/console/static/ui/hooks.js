// State that several views keep alike: pages by cursor, and a selection over pages.
import { useState } from '../lib/html.js';
import { useLoad } from '../lib/load.js';
import { getJson } from '../lib/api.js';

/** Pages of a list. Going back uses the cursor of that page again, so it is as quick as going on. */
export function usePages(path, query, { size = 50 } = {}) {
  const [cursors, setCursors] = useState([null]);
  const inputs = JSON.stringify(query);
  const [before, setBefore] = useState(inputs);
  if (before !== inputs) {
    setBefore(inputs);
    setCursors([null]);
  }
  const current = before === inputs ? cursors : [null];
  const after = current.at(-1);
  const load = useLoad((signal) => getJson(path, { ...query, limit: size, after }, { signal }), [path, inputs, after]);
  const rows = load.data?.data ?? [];
  return {
    ...load,
    rows,
    page: current.length,
    hasMore: load.data?.has_more ?? false,
    next: () => setCursors([...current, load.data.last_id ?? rows.at(-1).id]),
    previous: () => setCursors(current.slice(0, -1)),
    first: () => setCursors([null]),
  };
}

/** Chosen rows by key; they stay chosen on other pages. */
export function useSelection() {
  const [chosen, setChosen] = useState(new Map());
  return {
    size: chosen.size,
    rows: [...chosen.values()],
    has: (key) => chosen.has(key),
    toggle: (key, row) => {
      const next = new Map(chosen);
      if (!next.delete(key)) next.set(key, row);
      setChosen(next);
    },
    set: (rows, on) => {
      const next = new Map(chosen);
      for (const row of rows) {
        if (on) next.set(row.id, row);
        else next.delete(row.id);
      }
      setChosen(next);
    },
    clear: () => setChosen(new Map()),
  };
}
