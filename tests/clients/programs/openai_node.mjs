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

const tools = [{ type: 'image_generation', size: '64x64', model: 'tiny', partial_images: 1 }];
const said = await client.responses.create({ model: 'gpt-5', input: 'a red apple', tools });
const goneOn = await client.responses.create({
  model: 'gpt-5', input: 'now green', tools, previous_response_id: said.id,
});
const told = [];
const speaking = client.responses.stream({ model: 'gpt-5', input: 'a red apple', tools });
for await (const event of speaking) told.push(event.type);
const spoken = await speaking.finalResponse();
const drawn = (answer) => answer.output.filter((item) => item.type === 'image_generation_call')
  .map((item) => item.result);
const hook = await client.webhooks.create({
  name: 'mine', url: 'https://93.184.215.14/hook', event_types: ['batch.completed'],
});
const listed = [];
for await (const one of client.webhooks.list()) listed.push(one.id);
const forgotten = await client.webhooks.delete(hook.id);

console.log(JSON.stringify({
  said: drawn(said), goneOn: drawn(goneOn), told, spoken: drawn(spoken), usage: said.usage,
  hooks: { made: hook, listed, forgotten },
  both,
  previews,
  models,
  model: await client.models.retrieve('tiny:ink'),
  badKey: await refusal(() => new OpenAI({ baseURL: `${url}/v1`, apiKey: 'wrong' })
    .images.generate(ask)),
  badModel: await refusal(() => client.images.generate({ ...ask, model: 'none' })),
  badCount: await refusal(() => client.images.generate({ ...ask, n: 11 })),
}));
