// State that several views keep alike: pages by cursor, and a selection over pages.
import { useState } from '../lib/html.js';
import { getJson } from '../lib/api.js';
import { useLoad } from '../lib/load.js';
import { session } from '../lib/session.js';

const remembered = new Map();
session.subscribe(() => remembered.clear());

/** A state that a view finds again when it comes back, until the session ends. */
export function useRemembered(name, initial) {
  const [value, setValue] = useState(remembered.has(name) ? remembered.get(name) : initial);
  const change = (next) => {
    remembered.set(name, next);
    setValue(next);
  };
  return [value, change];
}

/** Pages of a list. Going back uses the cursor of that page again, so it is as quick as going on. */
export function usePages(path, query, { size = 50 } = {}) {
  const inputs = JSON.stringify(query);
  const [position, setPosition] = useRemembered(path, { inputs, cursors: [null] });
  const current = position.inputs === inputs ? position.cursors : [null];
  const setCursors = (cursors) => setPosition({ inputs, cursors });
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
