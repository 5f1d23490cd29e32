// The receipt that a picture of this gateway carries in its file, and the request it tells of.

const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];
const KEY = 'gateway';

/** The receipt in a PNG, or null where there is none to read. */
export async function receiptIn(blob) {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  if (!SIGNATURE.every((byte, index) => bytes[index] === byte)) return null;
  for (const { type, data } of chunks(bytes)) {
    const end = data.indexOf(0);
    if (!['tEXt', 'iTXt'].includes(type) || latin(data.subarray(0, end)) !== KEY) continue;
    return parsed(type === 'tEXt' ? latin(data.subarray(end + 1)) : international(data.subarray(end + 1)));
  }
  return null;
}

function* chunks(bytes) {
  const view = new DataView(bytes.buffer);
  let at = SIGNATURE.length;
  while (at + 12 <= bytes.length) {
    const length = view.getUint32(at);
    yield { type: latin(bytes.subarray(at + 4, at + 8)), data: bytes.subarray(at + 8, at + 8 + length) };
    at += 12 + length;
  }
}

/** The text of an `iTXt` behind its key: two flags, a language and a translated key, then UTF-8. */
function international(rest) {
  const language = rest.indexOf(0, 2);
  return new TextDecoder().decode(rest.subarray(rest.indexOf(0, language + 1) + 1));
}

function latin(bytes) {
  return new TextDecoder('latin1').decode(bytes);
}

/** Whoever made the file may have written anything; what is no receipt is none. */
function parsed(text) {
  try {
    const receipt = JSON.parse(text);
    return typeof receipt?.model === 'string' && typeof receipt.prompt === 'string' ? receipt : null;
  } catch {
    return null;
  }
}

/** The fields of the request that a receipt is of. */
export function fieldsOf(receipt) {
  const [width, height] = receipt.output_size ?? [receipt.width, receipt.height];
  return {
    model: receipt.model,
    prompt: receipt.prompt,
    n: 1,
    size: `${width}x${height}`,
    num_inference_steps: receipt.num_inference_steps,
    guidance_scale: receipt.guidance_scale,
    negative_prompt: receipt.negative_prompt,
    seed: receipt.seed,
    strength: receipt.strength,
    loras: (receipt.adapters ?? []).map(({ route, scale = 1 }) => ({ name: route, scale })),
  };
}
