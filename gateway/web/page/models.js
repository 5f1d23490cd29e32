// What the gateway serves, as the form needs it.

import { call } from './api.js';

// What a card says when it says nothing.
const STEPS = { min: 1, max: 10, default: 4 };
const GUIDANCE = { min: 0, max: 30, default: null };
const SIZES = { native: [1024, 1024], min: 256, max: 2048, multiple_of: 16, allowed: [] };

/** The endpoints served, each with its adapters: `{ id, steps, guidance, sizes, adapters … }`. */
export async function loadEndpoints() {
  const { data } = await (await call('v1/models')).json();
  const endpoints = new Map();
  for (const model of data) {
    if (model.alias_of || model.adapter) continue;
    endpoints.set(model.id, endpointOf(model));
  }
  for (const model of data) {
    if (!model.alias_of && model.adapter) endpoints.get(model.endpoint)?.adapters.push(model);
  }
  return [...endpoints.values()];
}

function endpointOf(model) {
  return {
    ...model,
    steps: { ...STEPS, ...model.steps },
    guidance: { ...GUIDANCE, ...model.guidance_scale },
    sizes: { ...SIZES, ...model.sizes },
    edits: model.edits ?? true,
    adapters: [],
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
