// The API key: asked for when the gateway wants one, kept in this tab only.

import { byId } from './dom.js';

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
  const dialog = byId('key-dialog');
  const input = byId('key');
  byId('key-reason').textContent = storedKey() ? reason : '';
  input.value = '';
  dialog.returnValue = 'cancel';
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => {
      const given = dialog.returnValue === 'use' && input.value.trim();
      if (given) sessionStorage.setItem(NAME, input.value.trim());
      input.value = '';
      resolve(Boolean(given));
    }, { once: true });
  });
}
