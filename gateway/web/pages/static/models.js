// What the gateway serves, as the form needs it.

import { call, Refusal } from './api.js';

// What a card says when it says nothing.
const STEPS = { min: 1, max: 10, default: 4 };
const GUIDANCE = { min: 0, max: 30, default: null };
const SIZES = { native: [1024, 1024], min: 256, max: 2048, multiple_of: 16, allowed: [] };

/**
 * The endpoints served: `{ id, steps, guidance, sizes, edits, controlnets, models }`, where `models` are
 * the ids it answers to, one for each adapter and one without.
 */
export async function loadEndpoints() {
  const { data } = await (await call('v1/models')).json();
  const endpoints = new Map();
  for (const model of data.filter((one) => !one.alias_of)) {
    if (!endpoints.has(model.endpoint)) endpoints.set(model.endpoint, endpointOf(model));
    endpoints.get(model.endpoint).models.push(model);
  }
  if (!endpoints.size) throw new Refusal('There is no endpoint here that you may use.');
  return [...endpoints.values()];
}

function endpointOf({ endpoint, state, reason, description, steps, guidance_scale: guidance, sizes, edits, controlnets }) {
  return {
    id: endpoint,
    isUsable: state !== 'unusable',
    description: state === 'unusable' ? `It cannot be used: ${reason}` : description,
    steps: { ...STEPS, ...steps },
    guidance: { ...GUIDANCE, ...guidance },
    sizes: { ...SIZES, ...sizes },
    edits,
    controlnets,
    models: [],
  };
}

/** Sizes worth offering for an endpoint, the native one first: `[width, height]` pairs. */
export function sizesOf({ sizes }) {
  if (sizes.allowed.length) return sizes.allowed;
  const [width, height] = sizes.native;
  const area = width * height;
  const shaped = [3 / 2, 2 / 3, 16 / 9, 9 / 16].map((aspect) => [
    rounded(Math.sqrt(area * aspect), sizes), rounded(Math.sqrt(area / aspect), sizes)]);
  const squares = [256, 512, 768, 1024].map((edge) => [edge, edge]);
  const offered = [sizes.native, ...squares, ...shaped].filter((pair) => fits(pair, sizes));
  const seen = new Set();
  return offered.filter((pair) => !seen.has(String(pair)) && seen.add(String(pair)));
}

function rounded(edge, { multiple_of: multiple }) {
  return Math.round(edge / multiple) * multiple;
}

function fits(pair, { min, max }) {
  return pair.every((edge) => edge >= min && edge <= max);
}
