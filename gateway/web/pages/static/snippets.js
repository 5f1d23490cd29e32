// A request as source that makes the same pictures from elsewhere.

import { BASE } from './api.js';
import { comfydeploy, friendli, huggingface } from './clients.js';
import { text } from './request.js';

// What the official SDKs take by name; the rest travels beside it.
const NAMED = ['model', 'prompt', 'n', 'size', 'response_format'];

const OPENAI = { curl, python, node };
const CLIENTS = { ...OPENAI, friendli, comfydeploy, huggingface };

/** Source for a client, by its name. Keys come from the environment, never from the tab. */
export function snippet(client, request, needsKey) {
  return CLIENTS[client](request, needsKey);
}

/** Whether there is source of a client for a request that begins with a picture. */
export function takesFiles(client) {
  return client in OPENAI;
}

function curl(request, needsKey) {
  const { path, fields, files } = request;
  const lines = [`curl ${quoted(new URL(path, BASE).href)}`];
  if (needsKey) lines.push('-H "Authorization: Bearer $GATEWAY_KEY"');
  if (fields.n === 1) lines.push("-H 'Accept: image/png' -o picture.png");
  else lines.push('-o pictures.json');
  if (Object.keys(files).length) {
    for (const name of Object.keys(files)) lines.push(`-F ${name}=@${name}.png`);
    for (const [name, value] of Object.entries(fields)) lines.push(`--form-string ${quoted(`${name}=${text(value)}`)}`);
  } else {
    lines.push("-H 'Content-Type: application/json'", `-d ${quoted(JSON.stringify(fields, null, 2))}`);
  }
  return `${lines.join(' \\\n  ')}\n`;
}

function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

function python(request, needsKey) {
  const { named, beside } = parted(request.fields);
  const isEdit = Object.keys(request.files).length > 0;
  const files = Object.keys(request.files).map((name) => `    ${name}=open("${name}.png", "rb"),`);
  return `import base64
${needsKey ? 'import os\n' : ''}
from openai import OpenAI

client = OpenAI(base_url=${JSON.stringify(baseUrl())}, api_key=${needsKey ? 'os.environ["GATEWAY_KEY"]' : '"unused"'})
result = client.images.${isEdit ? 'edit' : 'generate'}(
${[...files, ...named.map(([name, value]) => `    ${name}=${JSON.stringify(value)},`)].join('\n')}
    extra_body={${beside.map(([name, value]) => `${JSON.stringify(name)}: ${JSON.stringify(value)}`).join(', ')}},
)
for number, image in enumerate(result.data):
    with open(f"picture-{number}.png", "wb") as file:
        file.write(base64.b64decode(image.b64_json))
`;
}

function node(request, needsKey) {
  const { named, beside } = parted(request.fields);
  const isEdit = Object.keys(request.files).length > 0;
  const files = Object.keys(request.files).map(
    (name) => `  ${name}: await toFile(readFile('${name}.png'), '${name}.png', { type: 'image/png' }),`);
  return `import { ${isEdit ? 'readFile, ' : ''}writeFile } from 'node:fs/promises';
import OpenAI${isEdit ? ', { toFile }' : ''} from 'openai';

const client = new OpenAI({
  baseURL: ${JSON.stringify(baseUrl())},
  apiKey: ${needsKey ? 'process.env.GATEWAY_KEY' : "'unused'"},
});
const result = await client.images.${isEdit ? 'edit' : 'generate'}({
${[...files, ...[...named, ...beside].map(([name, value]) => `  ${name}: ${JSON.stringify(value)},`)].join('\n')}
});
for (const [number, image] of result.data.entries()) {
  await writeFile(\`picture-\${number}.png\`, Buffer.from(image.b64_json, 'base64'));
}
`;
}

function parted(fields) {
  const all = Object.entries({ ...fields, response_format: 'b64_json' });
  const isNamed = ([name]) => NAMED.includes(name);
  return { named: all.filter(isNamed), beside: all.filter((field) => !isNamed(field)) };
}

function baseUrl() {
  return new URL('v1', BASE).href;
}
