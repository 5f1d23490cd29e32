// The playground: where form, stream, viewer and gallery are joined.

import { Refusal } from './api.js';
import { fieldsOf } from './carried.js';
import { showSource } from './copying.js';
import { byId } from './dom.js';
import { draw } from './drawing.js';
import { SettingsForm } from './form.js';
import { Gallery } from './gallery.js';
import { Input } from './input.js';
import { forgetKey, storedKey } from './key.js';
import { loadEndpoints } from './models.js';
import { drawSeed, requestAgain, requestOf } from './request.js';
import { Viewer } from './viewer.js';

const VARY_STRENGTH = 0.7;
const composer = byId('composer');
const running = new Set();
const input = new Input(tellProblem, drawAgain);
const gallery = new Gallery(look);
const acts = {
  again: (picture) => run(requestAgain(picture)),
  vary,
  input: (picture) => startFrom(picture),
  mask: async (picture) => { await startFrom(picture); await input.paint(); },
  copy: (picture) => showSource(requestAgain(picture)),
  remove: (picture) => look(gallery.remove(picture)),
};
const viewer = new Viewer(acts, (picture) => form.endpointOf(picture.request.fields.model).edits);
let form = null;

async function open() {
  try {
    form = new SettingsForm(await loadEndpoints(), tellProblem);
  } catch (error) {
    tellProblem(error);
    return;
  }
  composer.elements.endpoint.addEventListener('change', offerEdits);
  offerEdits();
  tellKey();
}

async function generate() {
  if (!form) await open(); // no key was given, or the gateway was away
  if (!form || !composer.reportValidity()) return;
  const settings = form.settings();
  run(requestOf(settings, await input.files()));
}

function run(request) {
  tellProblem(null);
  const { pictures, ended } = draw(request);
  gallery.add(pictures);
  look(pictures[0]);
  running.add(pictures[0]);
  byId('cancel').disabled = false;
  ended.catch(tellProblem).finally(() => {
    running.delete(pictures[0]);
    byId('cancel').disabled = !running.size;
    tellKey();
  });
}

/** End the newest request that still runs. */
function cancel() {
  [...running].at(-1)?.cancel();
}

/** Something like a picture: redrawn from it where the endpoint edits, else a new seed. */
function vary(picture) {
  const { path, fields, files } = requestAgain(picture);
  const anew = { ...fields, seed: drawSeed() };
  if (!form.endpointOf(fields.model).edits) return run({ path, fields: anew, files });
  return run(requestOf({ strength: VARY_STRENGTH, ...anew }, { image: picture.blob }));
}

async function startFrom(picture) {
  form.apply({ ...picture.request.fields, size: picture.size });
  offerEdits();
  await input.set(picture.blob);
  byId('settings').open = true;
  byId('input').scrollIntoView({ block: 'nearest' });
}

/** The picture that a receipt tells of, once more; one that began with another needs that first. */
function drawAgain(receipt) {
  const fields = fieldsOf(receipt);
  if (!form.endpointOf(fields.model)) {
    tellProblem(new Refusal(`There is no endpoint “${fields.model}” here.`));
    return;
  }
  form.apply(fields);
  offerEdits();
  input.clear();
  if (!receipt.num_images) generate();
}

function look(picture) {
  viewer.show(picture);
  gallery.mark(picture);
}

function offerEdits() {
  input.offer(form.endpoint.edits);
}

/** Show a fault as a sentence and mark the field it lies in; null takes both away. */
function tellProblem(fault) {
  if (fault && !(fault instanceof Refusal)) throw fault;
  const problem = byId('problem');
  problem.hidden = !fault;
  problem.textContent = fault?.message ?? '';
  for (const field of composer.elements) field.removeAttribute('aria-invalid');
  const name = fault?.param === 'model' ? 'endpoint' : fault?.param;
  composer.elements.namedItem(name ?? '')?.setAttribute?.('aria-invalid', 'true');
}

function tellKey() {
  byId('key-button').hidden = !storedKey();
}

/** Beside the picture the settings stay open; on a phone they fold away. */
function fitWidth() {
  const wide = matchMedia('(min-width: 52rem)');
  const fit = () => { byId('settings').open = wide.matches; };
  wide.addEventListener('change', fit);
  fit();
}

// A field at fault must be in sight, also where the settings are folded away.
document.addEventListener('invalid', () => { byId('settings').open = true; }, true);
composer.addEventListener('submit', (event) => { event.preventDefault(); generate(); });
byId('prompt').addEventListener('keydown', (event) => {
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  generate();
});
document.addEventListener('keydown', (event) => {
  if (event.key === 'Escape' && !document.querySelector('dialog[open]')) cancel();
});
byId('cancel').addEventListener('click', cancel);
byId('key-button').addEventListener('click', () => { forgetKey(); tellKey(); });
byId('examples').addEventListener('click', ({ target }) => {
  if (target.tagName !== 'BUTTON') return;
  byId('prompt').value = target.textContent;
  generate();
});
fitWidth();
open();
