// OpenAI's Node SDK and a model that cannot be used; prints what it got as one JSON object.
import OpenAI from 'openai';

const client = new OpenAI({ baseURL: `${process.argv[2]}/v1`, apiKey: 'any', maxRetries: 5 });

async function fault(work) {
  try {
    await work();
  } catch ({ constructor, status = null, message }) {
    return { kind: constructor.name, status, message };
  }
  return null;
}

const ask = { model: 'tiny', prompt: 'unusable in node' };
const late = await client.images.generate({ ...ask, prompt: 'slow unusable in node' });
console.log(JSON.stringify({
  refused: await fault(() => client.images.generate(ask)),
  broken: await fault(async () => {
    const events = await client.images.generate({ ...ask, prompt: 'unusable, streamed in node', stream: true });
    for await (const _ of events);
  }),
  late: { data: late.data ?? null, message: late.error?.message },
}));
