// The frame around the views: sign-in, navigation, language and colours, notices.
import { dismiss, notices } from './lib/announce.js';
import { serverHas } from './lib/api.js';
import { html, render, useLayoutEffect, useRef } from './lib/html.js';
import { changeLanguage, chooseLanguage, language, LANGUAGES, t } from './lib/i18n.js';
import { theme, THEMES } from './lib/preferences.js';
import { hrefOf, route } from './lib/route.js';
import { session, signOut } from './lib/session.js';
import { useStore } from './lib/store.js';
import { isActive, uploads } from './lib/uploads.js';
import { AdminView } from './views/admin.js';
import { BatchView } from './views/batch.js';
import { BatchesView } from './views/batches.js';
import { FileView } from './views/file.js';
import { FilesView } from './views/files.js';
import { SignIn } from './views/sign-in.js';
import { StoreView } from './views/store.js';
import { StoresView } from './views/stores.js';
import { UsageView } from './views/usage.js';

const VIEWS = [
  { name: 'files', title: () => t('Files'), list: FilesView, detail: FileView },
  { name: 'vector-stores', title: () => t('Vector stores'), list: StoresView, detail: StoreView },
  { name: 'batches', title: () => t('Batches'), list: BatchesView, detail: BatchView },
  { name: 'usage', title: () => t('Usage'), list: UsageView },
  { name: 'admin', title: () => t('Administration'), list: AdminView, needs: '/v1/organization/projects' },
];
const offered = VIEWS.filter((view) => !view.needs || serverHas(view.needs));

function App() {
  const { key } = useStore(session);
  useStore(language);
  const path = useStore(route);
  const view = offered.find((each) => each.name === path[0]) ?? offered[0];
  return html`
    <${Bar} signedIn=${key !== null} current=${view.name} />
    ${key === null
      ? html`<${SignIn} />`
      : html`<${Main} key=${`${key} ${language.value}`} view=${view} id=${view.detail ? path[1] : undefined} rest=${path.slice(2)} />`}
    <${Notices} />
  `;
}

function Main({ view, id, rest }) {
  const main = useRef(null);
  const first = useRef(true);
  useLayoutEffect(() => {
    document.title = `${view.title()} · Filestead`;
    if (!first.current) main.current.focus({ preventScroll: true });
    first.current = false;
    scrollTo(0, 0);
  }, [view, id]);
  const View = id ? view.detail : view.list;
  return html`<main id="main" tabindex="-1" ref=${main}><${View} key=${id ?? view.name} id=${id} rest=${rest} /></main>`;
}

function Bar({ signedIn, current }) {
  return html`<header class="bar"><div class="bar-inner">
    <a class="skip" href="#main" onClick=${skip}>${t('Skip to content')}</a>
    <span class="brand">Filestead</span>
    ${signedIn && html`<nav class="views" aria-label=${t('Views')}>
      ${offered.map(({ name, title }) => html`<a key=${name} href=${hrefOf(name)} aria-current=${name === current ? 'page' : undefined}>
        ${title()}${name === 'files' && html`<${UploadMark} />`}
      </a>`)}
    </nav>`}
    <div class="bar-end">
      <select aria-label=${t('Language')} value=${language.value} onChange=${(event) => changeLanguage(event.target.value)}>
        ${Object.entries(LANGUAGES).map(([tag, name]) => html`<option key=${tag} value=${tag} lang=${tag}>${name}</option>`)}
      </select>
      <${ThemeChoice} />
      ${signedIn && html`<button type="button" class="button" onClick=${() => signOut()}>${t('Sign out')}</button>`}
    </div>
  </div></header>`;
}

function skip(event) {
  event.preventDefault(); // the fragment names the view
  document.getElementById('main')?.focus();
}

function ThemeChoice() {
  const chosen = useStore(theme);
  const titles = { auto: t('Automatic'), light: t('Light'), dark: t('Dark') };
  return html`<select aria-label=${t('Colours')} value=${chosen} onChange=${(event) => (theme.value = event.target.value)}>
    ${THEMES.map((name) => html`<option key=${name} value=${name}>${titles[name]}</option>`)}
  </select>`;
}

function UploadMark() {
  const active = useStore(uploads).filter(isActive).length;
  return active > 0 && html` <span class="mark" aria-label=${t('Uploads in progress: {n}', { n: active })}>${active}</span>`;
}

function Notices() {
  return html`<div class="notices">
    ${useStore(notices).map(({ id, text, kind }) => html`<div key=${id} class="toast ${kind}">
      <span>${text}</span>
      <button type="button" class="button icon" aria-label=${t('Close')} onClick=${() => dismiss(id)}>✕</button>
    </div>`)}
  </div>`;
}

await chooseLanguage();
render(html`<${App} />`, document.getElementById('app'));
