// The settings of the next request: what an endpoint allows, what the person chose.

import { Adapters } from './adapters.js';
import { Controls } from './controls.js';
import { byId, element } from './dom.js';
import { sizesOf } from './models.js';
import { drawSeed } from './request.js';

const CUSTOM = 'custom';
// What an endpoint decides the range of: not to be chosen before it is known.
const RANGED = ['endpoint', 'size', 'num_inference_steps', 'guidance_scale'];

/** The form's fields as one thing to read (`settings()`) and to write (`apply()`). */
export class SettingsForm {
  adapters = new Adapters();
  controls = null;

  /** `tell` shows a fault. */
  constructor(endpoints, tell) {
    this.endpoints = endpoints;
    this.controls = new Controls(tell);
    this.form = byId('composer');
    this.fields = this.form.elements;
    this.fields.endpoint.replaceChildren(...endpoints.map(endpointOption));
    this.fields.endpoint.addEventListener('change', () => this.fitEndpoint());
    this.fields.size.addEventListener('change', () => this.fitSize());
    this.fields.seed.value = drawSeed();
    byId('lock').addEventListener('click', () => this.lockSeed(!this.isLocked));
    for (const name of ['num_inference_steps', 'guidance_scale', 'strength', 'control-weight']) {
      this.fields[name].addEventListener('input', ({ target }) => {
        delete target.dataset.auto;
        this.tellValues();
      });
    }
    this.fitEndpoint();
    for (const name of RANGED) this.fields[name].disabled = false;
  }

  get endpoint() {
    return this.endpointOf(this.fields.endpoint.value);
  }

  /** The endpoint behind a model id, with or without an adapter's route. */
  endpointOf(model) {
    return this.endpoints.find(({ id }) => model === id || model.startsWith(`${id}:`));
  }

  get isLocked() {
    return byId('lock').getAttribute('aria-pressed') === 'true';
  }

  lockSeed(locked) {
    byId('lock').setAttribute('aria-pressed', locked);
    byId('lock').textContent = locked ? 'Locked' : 'Lock';
  }

  /** The chosen settings under the API's own names; an open seed is drawn anew. */
  settings() {
    if (!this.isLocked) this.fields.seed.value = drawSeed();
    const { fields } = this;
    const settings = {
      ...this.drawnWith(),
      ...this.controls.fields,
      prompt: fields.prompt.value.trim(),
      n: Number(fields.n.value),
      size: fields.size.value === CUSTOM ? fields.custom.value.replace(/\s/g, '') : fields.size.value,
      num_inference_steps: Number(fields.num_inference_steps.value),
      seed: Number(fields.seed.value),
      strength: Number(fields.strength.value),
    };
    if (!fields.guidance_scale.dataset.auto) settings.guidance_scale = Number(fields.guidance_scale.value);
    if (fields.negative_prompt.value.trim()) settings.negative_prompt = fields.negative_prompt.value.trim();
    return settings;
  }

  /** Endpoint and adapters: the first by the model's id, beside it what that does not say. */
  drawnWith() {
    const { endpoint: { id }, adapters } = this;
    const [first, ...more] = adapters.chosen;
    if (!first) return { model: id };
    const loras = first.scale === adapters.scaleOf(first.name) ? more : [first, ...more];
    return { model: `${id}:${first.name}`, ...(loras.length ? { loras } : {}) };
  }

  /** Show the settings of an earlier request, its seed locked. */
  apply(settings) {
    const { fields } = this;
    fields.endpoint.value = this.endpointOf(settings.model).id;
    this.fitEndpoint();
    const [, name] = settings.model.split(`${this.endpoint.id}:`);
    this.adapters.choose([...(settings.loras ?? []), ...(name ? [{ name }] : [])]);
    for (const name of ['prompt', 'n', 'num_inference_steps', 'guidance_scale', 'seed', 'strength']) {
      if (settings[name] === undefined) continue;
      fields[name].value = settings[name];
      delete fields[name].dataset.auto;
    }
    fields.negative_prompt.value = settings.negative_prompt ?? '';
    fields.size.value = settings.size;
    if (fields.size.selectedIndex < 0) [fields.size.value, fields.custom.value] = [CUSTOM, settings.size];
    this.fitSize();
    this.lockSeed(true);
    this.tellValues();
  }

  /** Offer what the chosen endpoint takes, at its defaults. */
  fitEndpoint() {
    const { endpoint, fields } = this;
    byId('about').textContent = endpoint.description;
    range(fields.num_inference_steps, endpoint.steps);
    range(fields.guidance_scale, endpoint.guidance);
    const sizes = sizesOf(endpoint).map(([width, height]) => `${width}x${height}`);
    fields.size.replaceChildren(
      ...sizes.map((size) => element('option', size.replace('x', ' × '), { value: size })),
      element('option', 'Other…', { value: CUSTOM }));
    this.adapters.offer(endpoint.models);
    this.controls.offer(endpoint.controlnets);
    this.fitSize();
    this.tellValues();
  }

  fitSize() {
    const isCustom = this.fields.size.value === CUSTOM;
    byId('custom-size').hidden = !isCustom;
    this.fields.custom.required = isCustom;
  }

  /** Write each slider's value beside it. */
  tellValues() {
    for (const output of document.querySelectorAll('output')) {
      const { dataset, value } = byId(output.htmlFor.value);
      output.value = dataset.auto ? 'auto' : value;
    }
  }
}

/** A slider without a default is left to the pipeline's own until it is moved. */
function range(input, { min, max, default: value }) {
  Object.assign(input, { min, max, value: value ?? min });
  if (value === null) input.dataset.auto = true;
  else delete input.dataset.auto;
}

function endpointOption({ id, isUsable }) {
  return element('option', isUsable ? id : `${id} (cannot be used)`, { value: id });
}
