// What made a picture, in rows to read.

import { element } from './dom.js';

/** `<dt>` and `<dd>` for each fact: the gateway's receipt where there is one, else what was asked. */
export function receiptRows(picture) {
  const facts = picture.fault ? { problem: picture.fault.message } : factsOf(picture);
  return Object.entries(facts)
    .filter(([, fact]) => fact !== undefined && fact !== '')
    .flatMap(([name, fact]) => [element('dt', name), element('dd', String(fact))]);
}

function factsOf({ request: { fields }, receipt, warnings, seed, size }) {
  const rendered = receipt.width ? `${receipt.width}x${receipt.height}` : size;
  return {
    'not as asked': warnings.map(({ message }) => message).join(' '),
    model: fields.model,
    size: rendered === size ? size : `${size}, rendered at ${rendered}`,
    steps: fields.num_inference_steps,
    guidance: fields.guidance_scale,
    seed,
    'left out': fields.negative_prompt,
    redrawn: fields.strength,
    scheduler: receipt.scheduler,
    adapters: receipt.adapters?.map(({ route, scale }) => `${route} × ${scale}`).join(', '),
    weights: listed(receipt.digests),
    versions: listed(receipt.versions),
  };
}

function listed(table) {
  return Object.entries(table ?? {}).map(([name, fact]) => `${name} ${fact ?? '–'}`).join(', ');
}
