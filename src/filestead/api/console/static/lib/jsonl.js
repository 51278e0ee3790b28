// The first lines of a JSONL file, with the fault of each line if there is one.
import { t } from './i18n.js';

export const MAX_LINES = 50;

/** Parse the text of the beginning of a file. `complete` says whether it is the whole file: otherwise the last line may be cut. */
export function parseLines(text, { purpose, complete }) {
  const lines = text.split('\n');
  const last = lines.pop();
  if (complete && last !== '') lines.push(last);
  const ids = new Map();
  const parsed = [];
  for (const [index, source] of lines.entries()) {
    if (parsed.length >= MAX_LINES) break;
    const line = source.replace(/\r$/, '');
    if (line.trim() !== '') parsed.push({ number: index + 1, source: line, ...judge(line, index + 1, purpose, ids) });
  }
  return parsed;
}

function judge(line, number, purpose, ids) {
  let value;
  try {
    value = JSON.parse(line);
  } catch (error) {
    return { value: undefined, fault: t('Not JSON: {reason}', { reason: error.message }) };
  }
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return { value, fault: t('Not a JSON object') };
  return { value, fault: purpose === 'batch' ? batchFault(value, number, ids) : trainingFault(value, purpose) };
}

function batchFault(value, number, ids) {
  const missing = ['custom_id', 'method', 'url', 'body'].filter((name) => value[name] === undefined);
  if (missing.length > 0) return t('Missing: {names}', { names: missing.join(', ') });
  if (value.method !== 'POST') return t('The method must be POST');
  const earlier = ids.get(value.custom_id);
  ids.set(value.custom_id, earlier ?? number);
  return earlier === undefined ? null : t('The custom_id is that of line {line}', { line: earlier });
}

function trainingFault(value, purpose) {
  const known = ['messages', 'prompt', 'input', 'item'].some((name) => value[name] !== undefined);
  return purpose === 'fine-tune' && !known ? t('Missing: {names}', { names: 'messages' }) : null;
}
