// Uploads in parts: what has arrived is remembered, so that a lost connection costs the part on its way and no more.
import { postJson } from './api.js';
import { postForm } from './transfer.js';

const MIB = 1024 * 1024;
export const PARTS_ABOVE = 64 * MIB;
const SMALLEST_PART = 16 * MIB;
const LARGEST_PART = 64 * MIB;
const PARTS_AT_ONCE = 3;
const WISHED_PARTS = 256;
const LIFETIME_SECONDS = 3600;

const partSizeFor = (bytes) => Math.min(LARGEST_PART, Math.max(SMALLEST_PART, Math.ceil(bytes / WISHED_PARTS / MIB) * MIB));

/** The name under which the tab remembers an upload; the same file chosen again after a reload continues it. */
const nameOf = ({ file, purpose }) => `filestead.upload.${purpose}.${file.size}.${file.lastModified}.${file.name}`;

function recall(item) {
  const found = JSON.parse(sessionStorage.getItem(nameOf(item)) ?? 'null');
  return found && found.expiresAt > Date.now() / 1000 + 60 ? found : null;
}

const remember = (item, record) => sessionStorage.setItem(nameOf(item), JSON.stringify(record));
const forget = (item) => sessionStorage.removeItem(nameOf(item));

async function begin(item, signal) {
  const { file, purpose, expiresAfter } = item;
  const form = { filename: file.name, purpose, bytes: file.size, mime_type: file.type || 'application/octet-stream' };
  if (expiresAfter) form.expires_after = { anchor: 'created_at', seconds: expiresAfter };
  const upload = await postJson('/v1/uploads', form, { signal });
  const expiresAt = upload.expires_at ?? upload.created_at + LIFETIME_SECONDS;
  const record = { id: upload.id, partSize: partSizeFor(file.size), parts: {}, expiresAt };
  remember(item, record);
  return record;
}

/** Send what is missing of a file, then complete it. Resolves to the file object. An error has `progressed`. */
export async function sendInParts(item, { signal, onProgress }) {
  const record = recall(item) ?? (await begin(item, signal));
  const before = Object.keys(record.parts).length;
  try {
    await sendMissing(item, record, signal, onProgress);
    const partIds = Array.from({ length: countOf(item, record) }, (_, index) => record.parts[index]);
    const upload = await postJson(`/v1/uploads/${record.id}/complete`, { part_ids: partIds }, { signal });
    forget(item);
    return upload.file;
  } catch (error) {
    if (isFinal(error)) forget(item);
    error.progressed = Object.keys(record.parts).length > before;
    throw error;
  }
}

const countOf = ({ file }, record) => Math.ceil(file.size / record.partSize);
const isFinal = (error) => error.status >= 400 && error.status < 500 && ![401, 408, 429].includes(error.status);

/** After a failure no further part is begun; those on their way may still arrive, unless the failure is final. */
async function sendMissing(item, record, signal, onProgress) {
  const { file } = item;
  const waiting = [...Array(countOf(item, record)).keys()].filter((index) => !(index in record.parts));
  const onTheWay = new Map();
  const sizeOf = (index) => Math.min(record.partSize, file.size - index * record.partSize);
  const report = () => {
    const done = Object.keys(record.parts).reduce((sum, index) => sum + sizeOf(Number(index)), 0);
    onProgress([...onTheWay.values()].reduce((sum, bytes) => sum + bytes, done));
  };
  const stopped = new AbortController();
  let failure = null;
  const sendPart = async (index) => {
    const start = index * record.partSize;
    const form = new FormData();
    form.append('data', file.slice(start, start + sizeOf(index)), 'part');
    // A part whose response was lost may be there already: the server then recognizes its key.
    const headers = { 'idempotency-key': `part-${index}` };
    const progress = (sent) => {
      onTheWay.set(index, Math.min(sent, sizeOf(index)));
      report();
    };
    const part = await postForm(`/v1/uploads/${record.id}/parts`, form, {
      headers, signal: AbortSignal.any([signal, stopped.signal]), onProgress: progress,
    });
    record.parts[index] = part.id;
    remember(item, record);
  };
  const worker = async () => {
    while (waiting.length > 0 && failure === null) {
      const index = waiting.shift();
      try {
        await sendPart(index);
      } catch (error) {
        failure ??= error;
        if (isFinal(error)) stopped.abort();
      }
      onTheWay.delete(index);
      report();
    }
  };
  await Promise.all(Array.from({ length: Math.min(PARTS_AT_ONCE, waiting.length) }, worker));
  if (signal.aborted) throw new DOMException('', 'AbortError');
  if (failure) throw failure;
}

/** Tell the server that the parts are not wanted. */
export async function cancelParts(item) {
  const record = recall(item);
  if (!record) return;
  forget(item);
  await postJson(`/v1/uploads/${record.id}/cancel`, undefined).catch(() => {});
}
