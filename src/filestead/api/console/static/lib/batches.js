// What the batch views share: states, results as rows, faults by kind, and the pace of running batches.
import { send } from './api.js';

export const ENDPOINTS = [
  '/v1/chat/completions', '/v1/responses', '/v1/embeddings', '/v1/completions', '/v1/moderations', '/v1/images/generations',
  '/v1/images/edits', '/v1/videos',
];
const ENDED = new Set(['failed', 'completed', 'expired', 'cancelled']);
const CANCELLABLE = new Set(['validating', 'in_progress']);

export const hasEnded = (batch) => ENDED.has(batch.status);
export const canCancel = (batch) => CANCELLABLE.has(batch.status);

/** Lines that a retry would repeat: failed ones, and those that never ran. */
export const unfinished = ({ request_counts: counts }) => counts.total - counts.completed;

const LONGEST_LINE = 64 * 1024 * 1024;
const MAX_SAMPLES = 240;
const samples = new Map();

/** From the header 'x-filestead-batch-parallelism', as in 'in_flight=12, limit=16': {inFlight, limit}, or null. */
export function parseParallelism(text) {
  const [, inFlight, limit] = /^in_flight=(\d+), limit=(\d+)$/.exec(text ?? '') ?? [];
  return limit === undefined ? null : { inFlight: Number(inFlight), limit: Number(limit) };
}

/** Note how far a batch is; returns [{seconds, perSecond, parallelism}] since this tab watches it. */
export function notePace(batch, parallelism) {
  const { completed, failed } = batch.request_counts;
  const list = samples.get(batch.id) ?? [];
  const now = Date.now() / 1000;
  if (list.length === 0 || now - list.at(-1).at > 0.5) list.push({ at: now, done: completed + failed, parallelism });
  // A view is drawn once before new data come, and again with them.
  else Object.assign(list.at(-1), { done: completed + failed, parallelism });
  samples.set(batch.id, list.slice(-MAX_SAMPLES));
  return list.slice(1).map((each, index) => ({
    seconds: each.at - list[0].at,
    perSecond: Math.max(0, (each.done - list[index].done) / (each.at - list[index].at)),
    parallelism: each.parallelism,
  }));
}

/** Lines a second over the last half minute, or null. */
export function recentRate(id) {
  const list = (samples.get(id) ?? []).filter((each) => Date.now() / 1000 - each.at < 30);
  if (list.length < 2) return null;
  const [first, last] = [list[0], list.at(-1)];
  return last.at > first.at ? Math.max(0, (last.done - first.done) / (last.at - first.at)) : null;
}

/** Whole lines from an offset of the results ('output' or 'errors'): {lines, next, complete}. */
export async function readResults(batch, kind, offset, bytes, signal) {
  const fileId = kind === 'output' ? batch.output_file_id : batch.error_file_id;
  const { completed, failed } = batch.request_counts;
  const some = fileId || (!hasEnded(batch) && (kind === 'output' ? completed : failed) > 0);
  if (!some) return { lines: [], next: offset, complete: true };
  const path = fileId ? `/v1/files/${fileId}/content` : `/v1/batches/${batch.id}/${kind}`;
  // One byte that is known comes along: at the end of the results a range without it would be refused.
  const known = offset > 0 ? 1 : 0;
  let response;
  try {
    response = await send('GET', path, { signal, headers: { range: `bytes=${offset - known}-${offset + bytes - 1}` } });
  } catch (error) {
    if (error.status === 416 || error.status === 404) return { lines: [], next: offset, complete: true };
    throw error;
  }
  const buffer = new Uint8Array(await response.arrayBuffer()).subarray(known);
  const end = buffer.lastIndexOf(10) + 1;
  if (end === 0 && buffer.length >= bytes && bytes < LONGEST_LINE) return readResults(batch, kind, offset, bytes * 4, signal);
  const total = Number(/\/(\d+)$/.exec(response.headers.get('content-range') ?? '')?.[1] ?? offset + buffer.length);
  const text = new TextDecoder().decode(buffer.subarray(0, end));
  const lines = text.split('\n').filter(Boolean).map(parse).filter(Boolean);
  return { lines, next: offset + end, complete: end === 0 || offset + end >= total };
}

function parse(line) {
  try {
    return JSON.parse(line);
  } catch {
    return null;
  }
}

/** The kind of a line of the error file: its code, or the status and code of the response. */
export function faultKind(line) {
  if (line.error) return line.error.code ?? 'error';
  const error = line.response?.body?.error;
  return [`HTTP ${line.response?.status_code ?? '?'}`, error?.code ?? error?.type].filter(Boolean).join(' · ');
}

export function faultText(line) {
  return line.error?.message ?? line.response?.body?.error?.message ?? '';
}

/** What a model has answered, as text. */
export function answerOf(line) {
  const body = line.response?.body ?? {};
  const choice = body.choices?.[0];
  if (choice) return textOf(choice.message?.content ?? choice.text ?? choice.message?.tool_calls);
  if (Array.isArray(body.output)) return body.output.flatMap((item) => item.content ?? []).map((part) => part.text ?? '').join('');
  if (body.data?.[0]?.embedding) return `[${body.data[0].embedding.length}]`;
  return textOf(body);
}

const textOf = (value) => (typeof value === 'string' ? value : JSON.stringify(value ?? ''));

export function tokensOf(line) {
  const usage = line.response?.body?.usage;
  return usage?.total_tokens ?? (usage ? (usage.input_tokens ?? 0) + (usage.output_tokens ?? 0) : null);
}
