// The beginning of a file: lines of JSONL with their faults, or text or an image in a frame that may do nothing.
import { send } from '../lib/api.js';
import { html, useEffect, useState } from '../lib/html.js';
import { formatBytes, t } from '../lib/i18n.js';
import { MAX_LINES, parseLines } from '../lib/jsonl.js';
import { useLoad } from '../lib/load.js';
import { extensionOf, visible } from '../lib/names.js';
import { isDark } from '../lib/preferences.js';
import { messageOf } from '../ui/basics.js';

const TEXT_BYTES = 128 * 1024;
const IMAGE_BYTES = 16 * 1024 * 1024;

/** Images by their first bytes: neither the name nor a header is believed. SVG is not among them: it is a document. */
const IMAGES = [
  ['image/png', [0x89, 0x50, 0x4e, 0x47]],
  ['image/jpeg', [0xff, 0xd8, 0xff]],
  ['image/gif', [0x47, 0x49, 0x46, 0x38]],
  ['image/webp', [0x52, 0x49, 0x46, 0x46]],
];

const imageType = (bytes) => IMAGES.find(([, start]) => start.every((byte, index) => bytes[index] === byte))?.[0] ?? null;

async function loadBeginning(file, signal) {
  if (file.bytes === 0) return { kind: 'empty' };
  const read = async (count) => {
    const response = await send('GET', `/v1/files/${file.id}/content`, { signal, headers: { range: `bytes=0-${count - 1}` } });
    return new Uint8Array(await response.arrayBuffer());
  };
  let bytes = await read(Math.min(TEXT_BYTES, file.bytes));
  const image = imageType(bytes);
  if (image) {
    if (file.bytes > IMAGE_BYTES) return { kind: 'large-image' };
    if (bytes.length < file.bytes) bytes = await read(file.bytes);
    return { kind: 'image', type: image, bytes };
  }
  const complete = bytes.length >= file.bytes;
  const text = asText(bytes, complete);
  if (text === null) return { kind: 'binary' };
  return { kind: extensionOf(file.filename) === 'jsonl' ? 'jsonl' : 'text', text, complete };
}

/** The text of the bytes, whose last character may be cut; null for anything but UTF-8 without NUL. */
function asText(bytes, complete) {
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes, { stream: !complete });
    return text.includes('\0') ? null : text;
  } catch {
    return null;
  }
}

export function Preview({ file }) {
  const { data, error } = useLoad((signal) => loadBeginning(file, signal), [file.id]);
  return html`<section class="panel" aria-label=${t('Content')}>
    <header class="panel-head"><h2>${t('Content')}</h2>
      ${data && data.complete === false && html`<span class="quiet">${t('the first {size}', { size: formatBytes(TEXT_BYTES) })}</span>`}
    </header>
    <${Body} file=${file} data=${data} error=${error} />
  </section>`;
}

function Body({ file, data, error }) {
  if (error) return html`<p class="notice">${messageOf(error)}</p>`;
  if (!data) return html`<div class="preview quiet">${t('Loading…')}</div>`;
  if (data.kind === 'empty') return html`<p class="quiet">${t('The file is empty.')}</p>`;
  if (data.kind === 'binary') return html`<p class="quiet">${t('This is not text. Download the file to open it.')}</p>`;
  if (data.kind === 'large-image') return html`<p class="quiet">${t('The image is too large to be shown here.')}</p>`;
  if (data.kind === 'jsonl') return html`<${Lines} file=${file} ...${data} />`;
  return html`<${Frame} file=${file} data=${data} />`;
}

function Lines({ file, text, complete }) {
  const lines = parseLines(text, { purpose: file.purpose, complete });
  if (lines.length === 0) return html`<${Frame} file=${file} data=${{ kind: 'text', text }} />`;
  const faults = lines.filter((line) => line.fault).length;
  return html`
    <p class=${faults ? 'fault' : 'quiet'}>
      ${faults ? t('Lines with faults among those shown: {n}', { n: faults }) : t('No faults in the lines shown.')}
      ${lines.length >= MAX_LINES && html` <span class="quiet">${t('The first {n} lines are shown.', { n: MAX_LINES })}</span>`}
    </p>
    <ol class="lines">${lines.map((line) => html`<li key=${line.number} value=${line.number} class=${line.fault ? 'faulty' : ''}>
      <details open=${lines.length <= 3 || Boolean(line.fault)}>
        <summary><span class="line-number">${line.number}</span> <${Summary} line=${line} /></summary>
        ${line.fault && html`<p class="fault">${line.fault}</p>`}
        <pre dir="auto" tabindex="0"><code>${visibleLines(line.value === undefined ? line.source : JSON.stringify(line.value, null, 2))}</code></pre>
      </details>
    </li>`)}</ol>`;
}

const visibleLines = (text) => text.split('\n').map(visible).join('\n');

function Summary({ line: { value, source } }) {
  const { custom_id: id, url, body } = value ?? {};
  if (typeof id !== 'string') return html`<code class="cut" dir="auto">${visible(source.slice(0, 160))}</code>`;
  return html`<code class="cut"><bdi>${visible(id)}</bdi></code> <span class="quiet">${typeof url === 'string' && visible(url)} ${typeof body?.model === 'string' && visible(body.model)}</span>`;
}

const escapeHtml = (text) => text.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);

function base64(bytes) {
  let text = '';
  for (let start = 0; start < bytes.length; start += 0x8000) text += String.fromCharCode(...bytes.subarray(start, start + 0x8000));
  return btoa(text);
}

function documentOf(data) {
  const body =
    data.kind === 'image'
      ? `<img alt="" src="data:${data.type};base64,${base64(data.bytes)}">`
      : `<pre dir="auto">${escapeHtml(visibleLines(data.text))}</pre>`;
  return `<!doctype html><meta charset="utf-8"><meta name="color-scheme" content="${isDark() ? 'dark' : 'light'}"><title>-</title>${body}`;
}

function Frame({ file, data }) {
  const [url, setUrl] = useState(null);
  useEffect(() => {
    const made = URL.createObjectURL(new Blob([documentOf(data)], { type: 'text/html' }));
    setUrl(made);
    return () => URL.revokeObjectURL(made);
  }, [data]);
  if (!url) return html`<div class="preview"></div>`; // as high as the frame, so that nothing below moves
  return html`<iframe class="preview" sandbox="" src=${url} title=${t('Content of {name}', { name: file.filename })}></iframe>`;
}
