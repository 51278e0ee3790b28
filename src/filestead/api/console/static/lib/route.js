// The view that is shown is in the fragment of the address: '#/files/file-abc' is ['files', 'file-abc'].
import { Store } from './store.js';

const parse = () => location.hash.replace(/^#\/?/, '').split('/').filter(Boolean).map(decoded);

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

export const route = new Store(parse());
addEventListener('hashchange', () => {
  route.value = parse();
});

export const hrefOf = (...segments) => `#/${segments.map(encodeURIComponent).join('/')}`;

export function go(...segments) {
  location.hash = hrefOf(...segments);
}
