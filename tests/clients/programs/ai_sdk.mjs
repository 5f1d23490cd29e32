// Vercel's AI SDK with both of its providers; prints what it got as one JSON object.
import { createOpenAI } from '@ai-sdk/openai';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { generateImage, generateText } from 'ai';

const [url, key] = process.argv.slice(2);
const baseURL = `${url}/v1`;
const prompt = 'a red apple';
const openai = createOpenAI({ baseURL, apiKey: key });
const compatible = createOpenAICompatible({ name: 'gateway', baseURL, apiKey: key });

const named = await generateImage({ model: openai.image('tiny:ink'), prompt, size: '64x64', n: 2 });
const alias = await generateImage({ model: openai.image('dall-e-3'), prompt, size: '64x64' });
const seeded = () => generateImage({
  model: compatible.imageModel('tiny'), prompt, size: '64x64', n: 3,
  providerOptions: { gateway: { seed: 7, num_inference_steps: 3 } },
});
const first = await seeded();
const second = await seeded();
const refused = await generateImage({
  model: compatible.imageModel('none'), prompt, maxRetries: 0,
}).catch((error) => ({ status: error.statusCode, message: error.message }));

const text = await generateText({
  model: openai('gpt-5'), prompt, maxRetries: 0,
  tools: { image_generation: openai.tools.imageGeneration({ size: 'auto', model: 'tiny' }) },
});
const tool = text.staticToolResults.map((result) => result.output.result);

const pictures = (answer) => answer.images.map((image) => image.base64);
console.log(JSON.stringify({
  named: pictures(named), alias: pictures(alias), first: pictures(first),
  second: pictures(second), refused, tool, words: text.text,
}));
