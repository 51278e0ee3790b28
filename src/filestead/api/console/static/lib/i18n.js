// Texts in five languages, and numbers and times as the language writes them. A text's key is the English text itself.
import { storedLanguage, remember } from './preferences.js';
import { Store } from './store.js';

export const LANGUAGES = { en: 'English', de: 'Deutsch', fr: 'Français', es: 'Español', ar: 'العربية' };
const RIGHT_TO_LEFT = new Set(['ar']);

export const language = new Store('en');
let texts = {};
let formats = formatsOf('en');

function preferred() {
  const wanted = [storedLanguage, ...navigator.languages].filter(Boolean).map((tag) => tag.split('-')[0]);
  return wanted.find((tag) => tag in LANGUAGES) ?? 'en';
}

/** The tag with its region, if the browser has one: numbers and times differ by it. */
function localeOf(tag) {
  return navigator.languages.find((each) => each.split('-')[0] === tag) ?? tag;
}

function formatsOf(tag) {
  const locale = localeOf(tag);
  return {
    plural: new Intl.PluralRules(locale),
    number: new Intl.NumberFormat(locale),
    short: new Intl.NumberFormat(locale, { maximumSignificantDigits: 3 }),
    percent: new Intl.NumberFormat(locale, { style: 'percent', maximumFractionDigits: 0 }),
    score: new Intl.NumberFormat(locale, { minimumFractionDigits: 3, maximumFractionDigits: 3 }),
    time: new Intl.DateTimeFormat(locale, { dateStyle: 'medium', timeStyle: 'short' }),
    exact: new Intl.DateTimeFormat(locale, { dateStyle: 'full', timeStyle: 'long' }),
    relative: new Intl.RelativeTimeFormat(locale, { numeric: 'auto' }),
    units: Object.fromEntries(
      ['byte', 'kilobyte', 'megabyte', 'gigabyte', 'terabyte', 'second', 'minute', 'hour', 'day'].map((unit) => [
        unit,
        new Intl.NumberFormat(locale, { style: 'unit', unit, unitDisplay: unit === 'byte' ? 'long' : 'short', maximumSignificantDigits: 3 }),
      ]),
    ),
  };
}

export async function chooseLanguage(tag = preferred()) {
  if (tag !== 'en') texts = (await import(`../lang/${tag}.js`)).default;
  else texts = {};
  formats = formatsOf(tag);
  document.documentElement.lang = tag;
  document.documentElement.dir = RIGHT_TO_LEFT.has(tag) ? 'rtl' : 'ltr';
  language.value = tag;
}

export async function changeLanguage(tag) {
  await chooseLanguage(tag);
  remember('language', tag);
}

const fill = (text, values) => text.replace(/\{(\w+)\}/g, (mark, name) => values[name] ?? mark);

/** The text in the chosen language, with `{name}` replaced by values. */
export function t(text, values = {}) {
  return fill(texts[text] ?? text, values);
}

/** The text for a number: `tn(2, '{n} file', '{n} files')`. A translation has one text for each plural form. */
export function tn(number, one, other, values = {}) {
  const form = formats.plural.select(number);
  const forms = texts[other] ?? { one, other };
  return fill(typeof forms === 'string' ? forms : (forms[form] ?? forms.other), { n: formats.number.format(number), ...values });
}

export const formatNumber = (number) => formats.number.format(number);
export const formatPercent = (share) => formats.percent.format(share);
export const formatScore = (score) => formats.score.format(score);
export const formatShort = (number) => formats.short.format(number);
export const formatTime = (seconds) => formats.time.format(seconds * 1000);
export const formatExactTime = (seconds) => formats.exact.format(seconds * 1000);

const SIZES = ['byte', 'kilobyte', 'megabyte', 'gigabyte', 'terabyte'];

/** A size in decimal units, as Intl names them: 1 kB is 1,000 bytes. */
export function formatBytes(bytes) {
  let value = bytes;
  let unit = 0;
  while (value >= 999.5 && unit < SIZES.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return formats.units[SIZES[unit]].format(value);
}

const DURATIONS = [['day', 86400], ['hour', 3600], ['minute', 60], ['second', 1]];

export function formatDuration(seconds) {
  const [unit, size] = DURATIONS.find(([, each]) => seconds >= each) ?? DURATIONS.at(-1);
  return formats.units[unit].format(Math.round(seconds / size));
}

export const formatSeconds = (seconds) => formats.units.second.format(seconds);

/** A time relative to now: "in 3 days". */
export function formatRelative(seconds) {
  const distance = seconds - Date.now() / 1000;
  const [unit, size] = DURATIONS.find(([, each]) => Math.abs(distance) >= each) ?? DURATIONS.at(-1);
  return formats.relative.format(Math.trunc(distance / size), unit);
}
