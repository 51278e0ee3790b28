// The key of this tab. It is in sessionStorage, so it is gone with the tab, other tabs have their own, and signing out
// removes it together with everything else that this tab has stored.
import { Store } from './store.js';

const NAME = 'filestead.key';

/** null, or {key, ended}: `ended` says that the server has refused the key. */
export const session = new Store({ key: sessionStorage.getItem(NAME), ended: false });

export function signIn(key) {
  sessionStorage.setItem(NAME, key);
  session.value = { key, ended: false };
}

export function signOut({ ended = false } = {}) {
  sessionStorage.clear();
  session.value = { key: null, ended };
}
