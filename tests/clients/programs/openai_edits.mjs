// OpenAI's Node SDK editing, varying and batching; prints what it got as one JSON object.
import { readFileSync } from 'node:fs';
import OpenAI, { toFile } from 'openai';

const [url, key, path] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0 });
const picture = () => toFile(readFileSync(path), 'picture.png', { type: 'image/png' });
const ask = { model: 'tiny', prompt: 'a red apple', size: '64x64', seed: 7 };
const data = (answer) => answer.data.map((item) => item.b64_json);

const edited = await client.images.edit({ ...ask, image: await picture(), n: 2 });
const masked = await client.images.edit({ ...ask, image: await picture(), mask: await picture() });
const listed = await client.images.edit({ ...ask, image: [await picture()], strength: 0.5 });
const varied = await client.images.createVariation({
  model: 'tiny', image: await picture(), response_format: 'b64_json',
});
const events = [];
const stream = await client.images.edit({
  ...ask, image: await picture(), stream: true, partial_images: 2, num_inference_steps: 4,
});
for await (const event of stream) events.push({ type: event.type, b64_json: event.b64_json });

const line = {
  custom_id: 'one', method: 'POST', url: '/v1/images/generations', body: { ...ask, n: 2 },
};
const file = await client.files.create({
  file: await toFile(Buffer.from(JSON.stringify(line)), 'lines.jsonl'), purpose: 'batch',
});
let batch = await client.batches.create({
  input_file_id: file.id, endpoint: '/v1/images/generations', completion_window: '24h',
});
while (!['completed', 'failed'].includes(batch.status)) {
  await new Promise((resolve) => setTimeout(resolve, 200));
  batch = await client.batches.retrieve(batch.id);
}
const output = await (await client.files.content(batch.output_file_id)).text();
const batches = [];
for await (const one of client.batches.list()) batches.push(one.id);

console.log(JSON.stringify({
  edited: data(edited), masked: data(masked), listed: data(listed), varied: data(varied), events,
  batch, output: output.trim().split('\n').map((text) => JSON.parse(text)), batches,
  deleted: await client.files.delete(file.id),
}));
