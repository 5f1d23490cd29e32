// @saintno/comfyui-sdk against a gateway: what it gets, as JSON.
import { CallWrapper, ComfyApi, PromptBuilder } from "@saintno/comfyui-sdk";

const [url, key, graphs] = process.argv.slice(2);
const given = JSON.parse(graphs);
const credentials = { type: "bearer_token", token: key };
const api = new ComfyApi(url, undefined, { credentials, forceWs: true });
api.init();
const events = [];
api.on("all", (event) => events.push(event.detail));
await api.waitForReady();

const base64 = async (blob) => Buffer.from(await blob.arrayBuffer()).toString("base64");

const run = (graph, outputs) =>
  new Promise((resolve) => {
    let prompt = new PromptBuilder(graph, ["seed"], Object.keys(outputs));
    for (const [name, node] of Object.entries(outputs)) prompt = prompt.setOutputNode(name, node);
    prompt = prompt.setInputNode("seed", "3.inputs.seed").input("seed", 21);
    const steps = [];
    new CallWrapper(api, prompt)
      .onProgress((info) => steps.push(info.value))
      .onFinished(async (data) => {
        const pictures = [];
        for (const image of data.images.images) pictures.push(await base64(await api.getImage(image)));
        resolve({ pictures, steps, images: data.images.images });
      })
      .onFailed((error) => resolve({ failed: error.message, cause: error.cause }))
      .run();
  });

const text = await run(given.text, { images: "9" });
const uploaded = await api.uploadImage(Buffer.from(given.png, "base64"), "red.png");
const graph = structuredClone(given.picture);
graph["10"].inputs.image = uploaded.info.filename;
const picture = await run(graph, { images: "9" });
const broken = structuredClone(given.text);
broken["3"].inputs.steps = 5000;
const refused = await run(broken, { images: "9" });
const history = await api.getHistories(2);

console.log(
  JSON.stringify({
    text,
    picture,
    refused,
    uploaded: uploaded.info,
    checkpoints: await api.getCheckpoints(),
    loras: await api.getLoras(),
    folder: await api.getModels("checkpoints"),
    samplers: await api.getSamplerInfo(),
    stats: await api.getSystemStats(),
    features: await api.getFeatures(),
    extensions: await api.getExtensions(),
    freed: await api.freeMemory(true, true),
    queue: await api.getQueue(),
    history: Object.values(history).map((entry) => entry.status),
    events: events.map((event) => event.type),
  }),
);
api.destroy();
process.exit(0);
