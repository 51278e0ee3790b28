// Dialogs on the browser's own <dialog>, which keeps the focus inside, closes on Escape and returns the focus.
import { html, useEffect, useId, useRef, useState } from '../lib/html.js';
import { t } from '../lib/i18n.js';
import { messageOf } from './basics.js';

export function Dialog({ title, onClose, children, wide = false }) {
  const element = useRef(null);
  const id = useId();
  useEffect(() => {
    element.current.showModal();
  }, []);
  return html`<dialog ref=${element} class=${wide ? 'wide' : ''} aria-labelledby=${id} onClose=${onClose}>
    <header class="dialog-head">
      <h2 id=${id}>${title}</h2>
      <button type="button" class="button icon" aria-label=${t('Close')} onClick=${() => element.current.close()}>✕</button>
    </header>
    ${children}
  </dialog>`;
}

/** A dialog with a form. `submit` is asynchronous; its failure is shown, and success closes the dialog. */
export function FormDialog({ title, onClose, submit, submitText, danger = false, disabled = false, wide, children }) {
  const [state, setState] = useState({ busy: false, error: null });
  const send = async (event) => {
    event.preventDefault();
    setState({ busy: true, error: null });
    try {
      await submit(new FormData(event.target));
      onClose();
    } catch (error) {
      setState({ busy: false, error });
    }
  };
  return html`<${Dialog} title=${title} onClose=${onClose} wide=${wide}>
    <form onSubmit=${send}>
      <div class="dialog-body">${children}</div>
      ${state.error && html`<p class="notice error" role="alert">${messageOf(state.error)}</p>`}
      <footer class="dialog-foot">
        <button type="button" class="button" onClick=${(event) => event.target.closest('dialog').close()}>${t('Cancel')}</button>
        <button type="submit" class="button ${danger ? 'danger' : 'primary'}" disabled=${state.busy || disabled}>${submitText}</button>
      </footer>
    </form>
  <//>`;
}
