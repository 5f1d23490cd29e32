// Vercel's AI SDK editing with both of its providers; prints what it got as one JSON object.
import { readFileSync } from 'node:fs';
import { createOpenAI } from '@ai-sdk/openai';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { generateImage } from 'ai';

const [url, key, path] = process.argv.slice(2);
const baseURL = `${url}/v1`;
const image = readFileSync(path);
const openai = createOpenAI({ baseURL, apiKey: key });
const compatible = createOpenAICompatible({ name: 'gateway', baseURL, apiKey: key });
const prompt = { text: 'a red apple', images: [image] };

const named = await generateImage({ model: openai.image('tiny'), prompt, size: '64x64' });
const masked = await generateImage({
  model: openai.image('tiny'), prompt: { ...prompt, mask: image }, size: '64x64',
});
const other = await generateImage({
  model: compatible.imageModel('tiny'), prompt, size: '64x64',
  providerOptions: { gateway: { seed: 7 } },
});
const pictures = (answer) => answer.images.map((one) => one.base64);
console.log(JSON.stringify({
  named: pictures(named), masked: pictures(masked), compatible: pictures(other),
}));
