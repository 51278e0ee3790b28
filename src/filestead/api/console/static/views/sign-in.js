// Sign-in: a key is tried once and then kept in this tab.
import { ApiError, send } from '../lib/api.js';
import { html, useEffect, useRef, useState } from '../lib/html.js';
import { t } from '../lib/i18n.js';
import { session, signIn } from '../lib/session.js';
import { messageOf } from '../ui/basics.js';

export function SignIn() {
  const [state, setState] = useState({ busy: false, error: null });
  const field = useRef(null);
  useEffect(() => {
    document.title = `${t('Sign in')} · Filestead`;
    field.current.focus();
  }, []);
  const submit = async (event) => {
    event.preventDefault();
    const key = field.current.value.trim();
    setState({ busy: true, error: null });
    try {
      await send('GET', '/v1/files', { query: { limit: 1 }, key });
      signIn(key);
    } catch (error) {
      // A key without the scope for reading is a valid key: views say what it may not do.
      if (error instanceof ApiError && error.missingScope) signIn(key);
      else setState({ busy: false, error });
    }
  };
  const refused = state.error instanceof ApiError && state.error.status === 401;
  return html`<main id="main" tabindex="-1" class="sign-in">
    <h1>${t('Sign in')}</h1>
    ${session.value.ended && !state.error && html`<p class="notice error" role="alert">
      ${t('The server no longer accepts this key: it has expired or was revoked. Sign in with another one.')}
    </p>`}
    <form onSubmit=${submit}>
      <label for="key">${t('API key')}</label>
      <input
        id="key" ref=${field} type="password" required autocomplete="off" spellcheck="false" autocapitalize="off" placeholder="sk-…"
        aria-describedby=${state.error ? 'key-error key-help' : 'key-help'} aria-invalid=${state.error ? 'true' : undefined}
      />
      ${state.error && html`<p id="key-error" class="notice error" role="alert">
        ${refused ? t('The server does not accept this key.') : messageOf(state.error)}
      </p>`}
      <p id="key-help" class="quiet">
        ${t('The key stays in this tab until you sign out or close it.')} ${t('A new key:')} <code>filestead keys create --project default</code>
      </p>
      <button class="button primary" disabled=${state.busy}>${t('Sign in')}</button>
    </form>
  </main>`;
}
