// Messages for everyone: shown for some seconds, and read by screen readers.
import { Store } from './store.js';

export const notices = new Store([]);
let last = 0;

export function announce(text, kind = 'info') {
  const id = (last += 1);
  notices.value = [...notices.value, { id, text, kind }];
  document.getElementById('announcements').textContent = text;
  setTimeout(() => dismiss(id), kind === 'error' ? 15000 : 6000);
}

export function dismiss(id) {
  notices.value = notices.value.filter((notice) => notice.id !== id);
}
