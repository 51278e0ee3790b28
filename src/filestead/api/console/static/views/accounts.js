// Service accounts of a project: users for programs, which have keys in it.
import { announce } from '../lib/announce.js';
import { postJson, remove } from '../lib/api.js';
import { html, useState } from '../lib/html.js';
import { t } from '../lib/i18n.js';
import { visible } from '../lib/names.js';
import { Failure, Name, Time } from '../ui/basics.js';
import { FormDialog } from '../ui/dialog.js';
import { Pager, Table } from '../ui/table.js';
import { LifetimeField, lifetimeOf } from './new-secret.js';

/** `accounts` are pages of `path`; `onSecret` receives the key of a new account, and `onChange` hears that keys have changed. */
export function ServiceAccounts({ path, accounts, onSecret, onChange }) {
  const [dialog, setDialog] = useState(null);
  const close = () => setDialog(null);
  const columns = COLUMNS((account) => setDialog({ doomed: account }));
  return html`<div class="accounts">
    <header class="view-head"><h3>${t('Service accounts')}</h3>
      <button type="button" class="button" onClick=${() => setDialog({ create: true })}>${t('New service account')}</button></header>
    ${accounts.error && html`<${Failure} error=${accounts.error} retry=${accounts.reload} />`}
    ${!accounts.loading && accounts.rows.length === 0 && !accounts.error
      ? html`<p class="quiet">${t('There are no service accounts yet. Each is a user for a program, with a key of its own.')}</p>`
      : html`<${Table} label=${t('Service accounts')} columns=${columns} rows=${accounts.rows} busy=${accounts.loading} />`}
    <${Pager} page=${accounts.page} hasMore=${accounts.hasMore} busy=${accounts.loading} onNext=${accounts.next} onPrevious=${accounts.previous} />
    ${dialog?.create && html`<${NewAccount} path=${path} onClose=${close} onCreated=${(made) => {
      onSecret(made.api_key.value);
      onChange();
    }} />`}
    ${dialog?.doomed && html`<${DeleteAccount} path=${path} account=${dialog.doomed} onClose=${close} onDeleted=${onChange} />`}
  </div>`;
}

const COLUMNS = (doom) => [
  { key: 'name', title: t('Name'), className: 'grow', cell: (account) => html`<${Name}>${account.name}<//>` },
  { key: 'id', title: t('ID'), className: 'medium-only', cell: (account) => html`<code>${account.id}</code>` },
  { key: 'created', title: t('Created'), className: 'medium-only', cell: (account) => html`<${Time} at=${account.created_at} />` },
  {
    key: 'delete', title: html`<span class="visually-hidden">${t('Actions')}</span>`, className: 'end',
    cell: (account) => html`<button type="button" class="button small danger" aria-label=${t('Delete {name}', { name: visible(account.name) })} onClick=${() => doom(account)}>${t('Delete…')}</button>`,
  },
];

function NewAccount({ path, onClose, onCreated }) {
  const submit = async (form) => {
    onCreated(await postJson(path, { name: form.get('name').trim(), expires_in_seconds: lifetimeOf(form) }));
  };
  return html`<${FormDialog} title=${t('New service account')} onClose=${onClose} submit=${submit} submitText=${t('Create')}>
    <label class="field">${t('Name')}<input name="name" required maxlength="255" autocomplete="off" aria-describedby="account-hint" />
      <span class="hint" id="account-hint">${t('A name that exists gets another key of the same account.')}</span></label>
    <${LifetimeField} />
  <//>`;
}

function DeleteAccount({ path, account, onClose, onDeleted }) {
  const submit = async () => {
    await remove(`${path}/${account.id}`);
    announce(t('The service account is deleted'));
    onDeleted();
  };
  return html`<${FormDialog} title=${t('Delete the service account')} onClose=${onClose} submit=${submit} submitText=${t('Delete')} danger>
    <p>${t('Servers refuse all keys of this account in the project within two seconds. This cannot be undone.')}</p>
    <p><${Name}>${account.name}<//></p>
  <//>`;
}
