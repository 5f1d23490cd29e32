// ComfyDeploy's npm package 2.0.0-beta.69: `URL KEY MODEL`, prints what it saw.
import { ComfyDeploy } from "comfydeploy-new";

const [url, key, model] = process.argv.slice(2);
const sdk = new ComfyDeploy({ bearer: key, serverURL: `${url}/api` });
const inputs = { prompt: "a cat", seed: 42, num_inference_steps: 2, size: "64x64" };
const done = ["success", "failed", "timeout", "cancelled"];

async function ended(runId) {
  for (let turn = 0; turn < 600; turn += 1) {
    const run = await sdk.run.get({ runId });
    if (done.includes(run.status)) return run;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`${runId} did not end`);
}

const seen = {};
const run = await ended((await sdk.run.queue({ modelId: model, inputs })).runId);
const images = run.outputs.flatMap((output) => output.data.images ?? []);
seen.status = run.status;
seen.pictures = [];
for (const image of images) {
  seen.pictures.push((await fetch(image.url)).headers.get("content-type"));
}
const outputs = await sdk.run.sync({ modelId: model, inputs });
seen.sync = outputs.length;
seen.stream = [];
for await (const event of await sdk.run.stream({ modelId: model, inputs })) {
  seen.stream.push([event.event, event.data.event ?? null]);
}
const deployed = await sdk.run.deployment.queue({ deploymentId: model, inputs });
seen.deployment = (await ended(deployed.runId)).status;
seen.deployments = (await sdk.deployments.list({ environment: "production" })).map(({ id }) => id);
seen.models = (await sdk.models.publicModelsModelsGet()).map(({ id }) => id);
const bytes = await (await fetch(images[0].url)).arrayBuffer();
const uploaded = await sdk.file.upload({ file: new File([bytes], "a.png") });
seen.upload = uploaded.fileName;
const edit = { ...inputs, image: uploaded.fileUrl, strength: 0.5 };
seen.edit = (await ended((await sdk.run.queue({ modelId: model, inputs: edit })).runId)).status;
console.log(JSON.stringify(seen));
