// The dialog that shows a request as source and copies it.

import { announce, byId } from './dom.js';
import { storedKey } from './key.js';
import { snippet } from './snippets.js';

let request = null;

/** Show a request as source. */
export function showSource(of) {
  request = of;
  const parts = Object.keys(request.files);
  byId('copy-hint').textContent = parts.length
    ? `Save the input first, as ${parts.map((name) => `${name}.png`).join(' and ')}.` : '';
  renderSource();
  byId('copy-dialog').showModal();
}

function renderSource() {
  const { value } = document.querySelector('input[name=language]:checked');
  byId('snippet').textContent = snippet(value, request, Boolean(storedKey()));
  byId('copy').textContent = 'Copy';
}

for (const choice of document.querySelectorAll('input[name=language]')) {
  choice.addEventListener('change', renderSource);
}

byId('copy').addEventListener('click', async () => {
  await copy(byId('snippet'));
  byId('copy').textContent = 'Copied';
  announce('Copied');
});

/** Put an element's text into the clipboard; pages over plain http from afar are given none. */
async function copy(source) {
  try {
    await navigator.clipboard.writeText(source.textContent);
  } catch {
    getSelection().selectAllChildren(source);
    document.execCommand('copy');
  }
}
