// ComfyDeploy's npm package 0.0.19: `URL KEY MODEL`, prints what it saw.
import { ComfyDeployClient } from "comfydeploy-old";

const [url, key, model] = process.argv.slice(2);
const client = new ComfyDeployClient({ apiBase: url, apiToken: key });
const inputs = { prompt: "a cat", seed: 42, num_inference_steps: 2, size: "64x64" };
const run = await client.runSync({ deployment_id: model, inputs });
const images = run.outputs.flatMap((output) => output.data.images ?? []);
const types = [];
for (const image of images) types.push((await fetch(image.url)).headers.get("content-type"));
const { run_id } = await client.run({ deployment_id: model, inputs });
const place = await client.getUploadUrl("image/png", 100);
console.log(JSON.stringify({
  status: run.status, pictures: types, queued: typeof run_id, upload: Object.keys(place).sort(),
}));
