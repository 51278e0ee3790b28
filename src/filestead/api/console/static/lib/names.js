// Names that others have chosen: control and bidirectional characters are shown, not obeyed.
const HIDDEN = /[\u0000-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;

export function visible(name) {
  return String(name).replace(HIDDEN, (character) => `⟨${character.codePointAt(0).toString(16).padStart(4, '0').toUpperCase()}⟩`);
}

export function extensionOf(name) {
  return /\.([a-z0-9]+)$/i.exec(name)?.[1].toLowerCase() ?? '';
}
