// The dialog that shows a request as source and copies it.

import { announce, byId } from './dom.js';
import { storedKey } from './key.js';
import { snippet, takesFiles } from './snippets.js';

const choices = [...document.querySelectorAll('input[name=client]')];
let request = null;

/** Show a request as source. */
export function showSource(of) {
  request = of;
  const parts = Object.keys(request.files);
  for (const choice of choices) choice.parentElement.hidden = parts.length > 0 && !takesFiles(choice.value);
  if (chosen().parentElement.hidden) choices[0].checked = true;
  byId('copy-hint').textContent = [
    parts.length ? `Save the input first, as ${parts.map((name) => `${name}.png`).join(' and ')}.` : '',
    request.fields.control_images ? 'Put the URL or base64 of the picture that is followed in place of CONTROL_IMAGE.' : '',
  ].join(' ').trim();
  renderSource();
  byId('copy-dialog').showModal();
}

function renderSource() {
  byId('snippet').textContent = snippet(chosen().value, readable(request), Boolean(storedKey()));
  byId('copy').textContent = 'Copy';
}

/** The same request without a picture's bytes in the middle of it. */
function readable({ fields, ...rest }) {
  const named = fields.control_images?.map((control) => ({ ...control, image: 'CONTROL_IMAGE' }));
  return { ...rest, fields: named ? { ...fields, control_images: named } : fields };
}

function chosen() {
  return choices.find((choice) => choice.checked);
}

for (const choice of choices) choice.addEventListener('change', renderSource);

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
