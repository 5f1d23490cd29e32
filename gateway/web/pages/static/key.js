// The API key: asked for when the gateway wants one, kept in this tab only.

import { element } from './dom.js';

const NAME = 'gateway-key';
let asking = null;

export function storedKey() {
  return sessionStorage.getItem(NAME);
}

export function forgetKey() {
  sessionStorage.removeItem(NAME);
}

/**
 * Ask for a key and keep it. Requests refused at the same moment share one dialog.
 * Resolves to whether a key was given.
 */
export function askForKey(reason) {
  asking ??= openDialog(reason).finally(() => { asking = null; });
  return asking;
}

function openDialog(reason) {
  const input = element('input', '', {
    id: 'key', type: 'password', autocomplete: 'off', spellcheck: 'false', required: '',
  });
  const dialog = keyDialog(storedKey() ? reason : '', input);
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => {
      const given = dialog.returnValue === 'use' && input.value.trim();
      if (given) sessionStorage.setItem(NAME, given);
      dialog.remove();
      resolve(Boolean(given));
    }, { once: true });
  });
}

function keyDialog(reason, input) {
  const actions = element('div', '', { class: 'actions' });
  actions.append(
    element('button', 'Use key', { type: 'submit', class: 'primary', value: 'use' }),
    element('button', 'Not now', { type: 'submit', value: 'cancel', formnovalidate: '' }),
  );
  const form = element('form', '', { method: 'dialog' });
  form.append(
    element('h2', 'This gateway asks for a key', { id: 'key-title' }),
    element('p', reason, { id: 'key-reason' }),
    element('label', 'API key', { for: 'key' }),
    input,
    element('p', 'Kept in this tab only, gone when it closes.', { class: 'hint' }),
    actions,
  );
  const dialog = element('dialog', '', { id: 'key-dialog', 'aria-labelledby': 'key-title' });
  dialog.append(form);
  return dialog;
}
