// A request for clients of other dialects than OpenAI's; each in Python.

import { BASE } from './api.js';

const KEY = 'os.environ["GATEWAY_KEY"]';

export function friendli({ fields }, needsKey) {
  const asked = only(fields, ['model', 'prompt', 'num_inference_steps', 'guidance_scale', 'seed']);
  return `import base64
${needsKey ? 'import os\n' : ''}
from friendli import SyncFriendli

client = SyncFriendli(token=${needsKey ? KEY : '"any"'}, server_url=${address('')})
result = client.dedicated.image.generate(
${named(asked)}
    response_format="png",
)
with open("picture-0.png", "wb") as file:
    file.write(base64.b64decode(result.data[0].b64_json))
`;
}

export function comfydeploy({ fields: { model, ...inputs } }, needsKey) {
  return `import time
import urllib.request
${needsKey ? 'import os\n' : ''}
from comfydeploy import ComfyDeploy

client = ComfyDeploy(bearer=${needsKey ? KEY : '"any"'}, server_url=${address('api')})
request = {"deployment_id": ${JSON.stringify(model)}, "inputs": ${JSON.stringify(inputs)}}
queued = client.run.deployment.queue(request=request).create_run_response
while True:
    run = client.run.get(run_id=queued.run_id).workflow_run_model
    if run.status in ("success", "failed", "cancelled"):
        break
    time.sleep(0.5)
for number, image in enumerate(run.outputs[0].data["images"]):
    urllib.request.urlretrieve(image.url, f"picture-{number}.png")
`;
}

export function huggingface({ fields }, needsKey) {
  const { model, prompt, n, size, ...asked } = fields;
  const [width, height] = size.split('x').map(Number);
  return `${needsKey ? 'import os\n\n' : ''}from huggingface_hub import InferenceClient

client = InferenceClient(model=${address(`models/${model}`)}, api_key=${needsKey ? KEY : '"any"'})
picture = client.text_to_image(
    ${JSON.stringify(prompt)},
${named({ width, height, ...only(asked, ['num_inference_steps', 'guidance_scale', 'negative_prompt', 'seed']) })}
)
picture.save("picture-0.png")
`;
}

function only(fields, names) {
  return Object.fromEntries(names.filter((name) => fields[name] !== undefined).map((name) => [name, fields[name]]));
}

function named(fields) {
  return Object.entries(fields).map(([name, value]) => `    ${name}=${JSON.stringify(value)},`).join('\n');
}

function address(path) {
  return JSON.stringify(new URL(path, BASE).href.replace(/\/$/, ''));
}
