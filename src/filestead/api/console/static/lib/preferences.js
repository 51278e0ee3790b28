// Language and colours, which are no secrets: they stay in localStorage and hold for all tabs.
import { Store } from './store.js';

export const THEMES = ['auto', 'light', 'dark'];

function stored(name) {
  try {
    return localStorage.getItem(`filestead.${name}`);
  } catch {
    return null; // storage is switched off
  }
}

export function remember(name, value) {
  try {
    localStorage.setItem(`filestead.${name}`, value);
  } catch {
    // The choice holds for this visit.
  }
}

export const theme = new Store(THEMES.includes(stored('theme')) ? stored('theme') : 'auto');
export const storedLanguage = stored('language');

export function applyTheme() {
  if (theme.value === 'auto') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme.value;
  document.querySelector('meta[name=color-scheme]').content = theme.value === 'auto' ? 'light dark' : theme.value;
}

theme.subscribe((value) => {
  remember('theme', value);
  applyTheme();
});
applyTheme();

export function isDark() {
  return theme.value === 'dark' || (theme.value === 'auto' && matchMedia('(prefers-color-scheme: dark)').matches);
}
