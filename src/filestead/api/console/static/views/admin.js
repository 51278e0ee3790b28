// Projects of the organization, with their keys, service accounts and usage; for keys with the scope `admin`.
import { announce } from '../lib/announce.js';
import { getJson, postJson, remove } from '../lib/api.js';
import { html, useState } from '../lib/html.js';
import { t } from '../lib/i18n.js';
import { useLoad } from '../lib/load.js';
import { visible } from '../lib/names.js';
import { Expiry, Failure, Name, Time } from '../ui/basics.js';
import { FormDialog } from '../ui/dialog.js';
import { usePages } from '../ui/hooks.js';
import { Pager, Table } from '../ui/table.js';
import { ServiceAccounts } from './accounts.js';
import { LifetimeField, lifetimeOf, NewSecret } from './new-secret.js';
import { UsageFigures } from './usage.js';

const PATH = '/v1/organization/projects';
const SCOPES = ['files:read', 'files:write', 'inference', 'files:system', 'admin'];
const DEFAULT_SCOPES = ['files:read', 'files:write', 'inference'];

export function AdminView() {
  const projects = usePages(PATH, {}, { size: 20 });
  const [chosen, setChosen] = useState(null);
  const [creating, setCreating] = useState(false);
  const project = projects.rows.find((each) => each.id === chosen) ?? projects.rows[0];
  if (projects.error?.missingScope) {
    return html`<h1>${t('Administration')}</h1>
      <div class="notice"><p>${t('This key may not manage projects and keys. Sign in with a key that has the scope admin:')}</p>
      <p><code>filestead keys create --project default --scope admin --scope files:read --scope files:write</code></p></div>`;
  }
  const columns = [
    {
      key: 'name', title: t('Name'), className: 'grow',
      cell: (each) => html`<button type="button" class="button small" aria-pressed=${each.id === project?.id} onClick=${() => setChosen(each.id)}><${Name}>${each.name}<//></button>`,
    },
    { key: 'id', title: t('ID'), className: 'medium-only', cell: (each) => html`<code>${each.id}</code>` },
    { key: 'created', title: t('Created'), className: 'medium-only', cell: (each) => html`<${Time} at=${each.created_at} />` },
  ];
  const submit = async (form) => {
    const made = await postJson(PATH, { name: form.get('name').trim() });
    setChosen(made.id);
    projects.reload();
  };
  return html`
    <header class="view-head">
      <h1>${t('Administration')}</h1>
      <div class="tools"><button type="button" class="button primary" onClick=${() => setCreating(true)}>${t('New project')}</button></div>
    </header>
    ${projects.error && html`<${Failure} error=${projects.error} retry=${projects.reload} />`}
    <${Table} label=${t('Projects')} columns=${columns} rows=${projects.rows} busy=${projects.loading} />
    <${Pager} page=${projects.page} hasMore=${projects.hasMore} busy=${projects.loading} onNext=${projects.next} onPrevious=${projects.previous} />
    ${project && html`<${Project} key=${project.id} project=${project} />`}
    ${creating && html`<${FormDialog} title=${t('New project')} onClose=${() => setCreating(false)} submit=${submit} submitText=${t('Create')}>
      <label class="field">${t('Name')}<input name="name" required maxlength="255" autocomplete="off" /></label>
    <//>`}
  `;
}

function Project({ project }) {
  const path = `${PATH}/${project.id}`;
  const keys = usePages(`${path}/api_keys`, {}, { size: 50 });
  const accounts = usePages(`${path}/service_accounts`, {}, { size: 20 });
  const usage = useLoad((signal) => getJson(`${path}/usage`, {}, { signal }), [project.id]);
  const [dialog, setDialog] = useState(null);
  const [secret, setSecret] = useState(null);
  const reload = () => {
    keys.reload();
    accounts.reload(); // a key is of an account, which exists as long as it has keys
  };
  const columns = KEY_COLUMNS((key) => setDialog({ revoke: key }));
  return html`<section class="project" aria-label=${t('Project {name}', { name: visible(project.name) })}>
    <header class="view-head"><h2>${t('Project {name}', { name: visible(project.name) })}</h2>
      <button type="button" class="button primary" onClick=${() => setDialog({ create: true })}>${t('New key')}</button></header>
    ${keys.error && html`<${Failure} error=${keys.error} retry=${keys.reload} />`}
    <${Table} label=${t('Keys')} columns=${columns} rows=${keys.rows} busy=${keys.loading} />
    <${Pager} page=${keys.page} hasMore=${keys.hasMore} busy=${keys.loading} onNext=${keys.next} onPrevious=${keys.previous} />
    <${ServiceAccounts} path=${`${path}/service_accounts`} accounts=${accounts} onSecret=${setSecret} onChange=${reload} />
    ${usage.data && html`<${UsageFigures} usage=${usage.data} />`}
    ${dialog?.create && html`<${NewKey} path=${path} onClose=${() => setDialog(null)} onCreated=${(key) => {
      setSecret(key.value);
      reload();
    }} />`}
    ${dialog?.revoke && html`<${RevokeKey} path=${path} apiKey=${dialog.revoke} onClose=${() => setDialog(null)} onRevoked=${reload} />`}
    ${secret && html`<${NewSecret} secret=${secret} onClose=${() => setSecret(null)} />`}
  </section>`;
}

const KEY_COLUMNS = (revoke) => [
  { key: 'name', title: t('User'), className: 'grow', cell: (key) => html`<${Name}>${key.name}<//>` },
  { key: 'hint', title: t('Key'), className: 'once', cell: (key) => html`<code>${key.redacted_value}</code>` },
  { key: 'scopes', title: t('Scopes'), className: 'wide-only', cell: (key) => html`<code>${key.scopes.join(' ')}</code>` },
  { key: 'created', title: t('Created'), className: 'wide-only', cell: (key) => html`<${Time} at=${key.created_at} />` },
  { key: 'expires', title: t('Expires'), className: 'medium-only', cell: (key) => html`<${Expiry} at=${key.expires_at} />` },
  {
    key: 'revoke', title: html`<span class="visually-hidden">${t('Actions')}</span>`, className: 'end',
    cell: (key) => html`<button type="button" class="button small danger" aria-label=${t('Revoke {name}', { name: key.redacted_value })} onClick=${() => revoke(key)}>${t('Revoke…')}</button>`,
  },
];

function NewKey({ path, onClose, onCreated }) {
  const submit = async (form) => {
    const body = { name: form.get('name').trim() || undefined, scopes: form.getAll('scopes'), expires_in: lifetimeOf(form) };
    onCreated(await postJson(`${path}/api_keys`, body));
  };
  return html`<${FormDialog} title=${t('New key')} onClose=${onClose} submit=${submit} submitText=${t('Create')}>
    <label class="field">${t('User')}<input name="name" maxlength="255" autocomplete="off" aria-describedby="user-hint" />
      <span class="hint" id="user-hint">${t('The upload rate is limited per user. Without a name, the key has a user of its own.')}</span></label>
    <fieldset><legend>${t('Scopes')}</legend>
      ${SCOPES.map((scope) => html`<div key=${scope}><label><input type="checkbox" name="scopes" value=${scope} defaultChecked=${DEFAULT_SCOPES.includes(scope)} /> <code>${scope}</code></label></div>`)}
    </fieldset>
    <${LifetimeField} />
  <//>`;
}

function RevokeKey({ path, apiKey, onClose, onRevoked }) {
  const submit = async () => {
    await remove(`${path}/api_keys/${apiKey.id}`);
    announce(t('The key is revoked'));
    onRevoked();
  };
  return html`<${FormDialog} title=${t('Revoke the key')} onClose=${onClose} submit=${submit} submitText=${t('Revoke')} danger>
    <p>${t('Servers refuse the key within two seconds. This cannot be undone.')}</p>
    <p><code>${apiKey.redacted_value}</code> <${Name}>${apiKey.name}<//></p>
  <//>`;
}
