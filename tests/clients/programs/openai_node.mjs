// OpenAI's Node SDK against a gateway; prints what it got as one JSON object.
import OpenAI from 'openai';

const [url, key] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key });
const ask = { model: 'tiny', prompt: 'a red apple', size: '64x64', seed: 7 };

async function refusal(work) {
  try {
    await work();
  } catch (error) {
    return {
      kind: error.constructor.name, status: error.status, code: error.code, param: error.param,
      requestId: error.requestID ?? error.request_id ?? null,
    };
  }
  return null;
}

const both = await client.images.generate({ ...ask, n: 2 });
const previews = [];
const stream = await client.images.generate({
  ...ask, stream: true, partial_images: 2, num_inference_steps: 4,
});
for await (const event of stream) previews.push({ type: event.type, b64_json: event.b64_json });
const models = [];
for await (const model of client.models.list()) models.push(model.id);

console.log(JSON.stringify({
  both,
  previews,
  models,
  model: await client.models.retrieve('tiny:ink'),
  badKey: await refusal(() => new OpenAI({ baseURL: `${url}/v1`, apiKey: 'wrong' })
    .images.generate(ask)),
  badModel: await refusal(() => client.images.generate({ ...ask, model: 'none' })),
  badCount: await refusal(() => client.images.generate({ ...ask, n: 11 })),
}));
