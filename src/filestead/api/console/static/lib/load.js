// Data of a view: loaded when the view appears or its inputs change, and again on request. A newer load cancels the older one.
import { useCallback, useEffect, useRef, useState } from './html.js';

/** `load(signal)` returns a promise. Returns {data, error, loading, reload}; old data stay while new ones load. */
export function useLoad(load, inputs) {
  const [state, setState] = useState({ data: undefined, error: null, loading: true, inputs });
  const controller = useRef(null);
  const reload = useCallback(async () => {
    controller.current?.abort();
    const current = new AbortController();
    controller.current = current;
    setState((before) => ({ ...before, loading: true, inputs }));
    try {
      const data = await load(current.signal);
      if (!current.signal.aborted) setState({ data, error: null, loading: false, inputs });
    } catch (error) {
      if (!current.signal.aborted) setState((before) => ({ ...before, error, loading: false }));
    }
  }, inputs);
  useEffect(() => {
    reload();
    return () => controller.current?.abort();
  }, [reload]);
  // Until the load for new inputs has begun, the data are those of the old ones.
  const current = inputs.every((input, index) => Object.is(input, state.inputs[index]));
  return { ...state, loading: state.loading || !current, reload };
}

/** Call a function every so often while `active`, unless the tab is hidden. */
export function usePolling(poll, ms, active) {
  const latest = useRef(poll);
  latest.current = poll;
  useEffect(() => {
    if (!active) return undefined;
    const timer = setInterval(() => document.visibilityState === 'visible' && latest.current(), ms);
    return () => clearInterval(timer);
  }, [ms, active]);
}
