// One POST of a form with progress. XMLHttpRequest reports how much of a body is sent; fetch does not.
import { ConnectionLost, errorFrom, headersWithKey } from './api.js';
import { session } from './session.js';

/** Resolves to the parsed response. Throws `ApiError`, `ConnectionLost`, or AbortError. */
export function postForm(path, form, { headers = {}, signal, onProgress }) {
  return new Promise((resolve, reject) => {
    const { key } = session.value;
    const request = new XMLHttpRequest();
    request.open('POST', path);
    for (const [name, value] of Object.entries({ ...headersWithKey(key), ...headers })) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => onProgress(event.loaded);
    request.onload = () => {
      if (request.status >= 200 && request.status < 300) resolve(JSON.parse(request.responseText));
      else {
        const error = errorFrom(request.status, request.responseText, request.getResponseHeader('x-request-id'), key);
        error.retryAfter = Number(request.getResponseHeader('retry-after')) || null;
        reject(error);
      }
    };
    request.onerror = () => reject(new ConnectionLost());
    request.onabort = () => reject(new DOMException('', 'AbortError'));
    signal.addEventListener('abort', () => request.abort());
    if (signal.aborted) reject(new DOMException('', 'AbortError'));
    else request.send(form);
  });
}

export function randomToken() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}
