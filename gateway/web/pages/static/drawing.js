// Send a request and let its pictures sharpen as the stream tells.

import { call, Refusal } from './api.js';
import { events } from './events.js';
import { Picture } from './picture.js';
import { fetchOptions } from './request.js';

/** Start a request; returns its pictures at once and a promise of its end. */
export function draw(request) {
  const controller = new AbortController();
  const cancel = () => controller.abort();
  const pictures = Array.from(
    { length: request.fields.n }, (_, index) => new Picture(request, index, cancel));
  return { pictures, ended: follow(request, pictures, controller.signal) };
}

async function follow(request, pictures, signal) {
  try {
    const response = await call(request.path, fetchOptions(request, signal));
    for await (const event of events(response)) take(event, pictures);
    if (pictures.some((picture) => picture.isOpen)) {
      throw new Refusal('The connection ended before the picture was done.');
    }
  } catch (error) {
    const fault = understood(error);
    const state = fault ? 'failed' : 'cancelled';
    for (const picture of pictures) if (picture.isOpen) picture.change({ state, fault });
    if (fault) throw fault;
  }
}

/** The fault as a Refusal, or null where somebody cancelled. */
function understood(error) {
  if (error.name === 'AbortError') return null;
  if (error instanceof Refusal) return error;
  if (error instanceof TypeError) return new Refusal('The connection to the gateway broke off.');
  throw error;
}

function take({ comment, data }, pictures) {
  if (comment !== undefined) return takeComment(comment, pictures);
  if (data.error) throw new Refusal(data.error.message, { param: data.error.param });
  const picture = pictures[data.index ?? pictures.findIndex((one) => one.isOpen)];
  if (data.type.endsWith('.partial_image')) {
    picture.show(blobOf(data), { state: 'drawing' });
  } else if (data.type.endsWith('.completed')) {
    const { seed = picture.seed, size = picture.size, receipt = {}, warnings = [] } = data;
    picture.show(blobOf(data), { state: 'done', seed, size, receipt, warnings, step: picture.numSteps });
  }
}

/**
 * The gateway tells its steps in comments, which other clients skip: `step 2/4 of 0`.
 * Before the first one they may tell what is waited for: `loading emoji`.
 */
function takeComment(comment, pictures) {
  if (/^(down)?loading /.test(comment)) {
    for (const picture of pictures) if (picture.state === 'waiting') picture.change({ waitsFor: comment });
  }
  const found = /^step (\d+)\/(\d+) of (\d+)$/.exec(comment);
  if (!found) return;
  const [step, numSteps, index] = found.slice(1).map(Number);
  pictures[index]?.change({ state: 'drawing', step, numSteps });
}

function blobOf({ b64_json, output_format = 'png' }) {
  const bytes = Uint8Array.from(atob(b64_json), (character) => character.charCodeAt(0));
  return new Blob([bytes], { type: `image/${output_format}` });
}
