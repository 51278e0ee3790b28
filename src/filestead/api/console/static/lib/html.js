// Preact, its hooks and htm under one name, so that no other module knows where they are.
import { h } from '../vendor/preact.mjs';
import htm from '../vendor/htm.mjs';

export const html = htm.bind(h);
export { h, render, Fragment } from '../vendor/preact.mjs';
export { useState, useEffect, useMemo, useRef, useCallback, useId, useLayoutEffect } from '../vendor/hooks.mjs';
