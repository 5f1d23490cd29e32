// LangChain for JavaScript: a chat model with the image tool bound to it; prints what it got.

import { ChatOpenAI } from '@langchain/openai';

const [url, key] = process.argv.slice(2);
const tool = { type: 'image_generation', size: '64x64', model: 'tiny' };
const model = new ChatOpenAI({
  model: 'gpt-5', apiKey: key, useResponsesApi: true, configuration: { baseURL: `${url}/v1` },
}).bindTools([tool]);

const message = await model.invoke('a red apple');
const { tool_outputs: outputs = [] } = message.additional_kwargs;
console.log(JSON.stringify({ pictures: outputs.map(({ result }) => result) }));
