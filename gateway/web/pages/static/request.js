// A request as plain data, so that it can be sent, sent again, and copied as source.

/**
 * What to ask for: `path`, JSON-able `fields`, and `files` (blobs by part name).
 * A request with an input picture is an edit and keeps that picture's size.
 */
export function requestOf(settings, { image = null, mask = null } = {}) {
  const { strength, ...fields } = settings;
  if (!image) return { path: 'v1/images/generations', fields, files: {} };
  return {
    path: 'v1/images/edits',
    fields: { ...fields, size: 'auto', strength },
    files: mask ? { image, mask } : { image },
  };
}

/** The same request for one picture alone, with the seed that picture had. */
export function requestAgain(picture) {
  return { ...picture.request, fields: { ...picture.request.fields, n: 1, seed: picture.seed } };
}

/** A new seed, drawn here so that the request is known before it is sent. */
export function drawSeed() {
  return crypto.getRandomValues(new Uint32Array(1))[0];
}

/** Arguments for `fetch`: JSON, or multipart where there are files; always as a stream. */
export function fetchOptions(request, signal) {
  const fields = { ...request.fields, stream: true, partial_images: 3 };
  if (!Object.keys(request.files).length) {
    const headers = { 'Content-Type': 'application/json' };
    return { method: 'POST', headers, body: JSON.stringify(fields), signal };
  }
  const body = new FormData();
  for (const [name, value] of Object.entries(fields)) body.append(name, text(value));
  for (const [name, blob] of Object.entries(request.files)) body.append(name, blob, `${name}.png`);
  return { method: 'POST', body, signal };
}

/** A value as a part of a form; lists travel as JSON. */
export function text(value) {
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}
