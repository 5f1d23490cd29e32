// Comfy's npm package: `URL KEY GRAPH`, prints what it saw.
import { Comfy, comfy } from "@comfyorg/sdk";

const [url, key, text] = process.argv.slice(2);
process.env.COMFY_BASE_URL = url;
process.env.COMFY_ROUTER_BASE_URL = url;
process.env.COMFY_API_KEY = key;
const client = new Comfy({ apiKey: key });
const seen = {};

async function refused(act) {
  try {
    await act();
  } catch (error) {
    return error.constructor.name;
  }
  return "nothing";
}

const graph = () => client.workflows.fromJson(JSON.parse(text));
const job = await client.run(graph());
const [output] = job.getOutputs("9");
const data = await output.toBytes();
seen.job = [job.status, output.name, output.contentType, data.length === output.sizeBytes];
seen.range = Buffer.from(await output.toBytes({ range: [0, 3] })).toString("hex");
seen.workflow = (await job.getWorkflow()).format;

const watched = await client.submit(graph());
seen.events = [];
for await (const event of watched.events()) seen.events.push(event.kind);
seen.resumed = (await (await client.jobs.get(watched.id)).result()).status;

const named = crypto.randomUUID();
const first = await client.submit(graph(), { idempotencyKey: named });
seen.again = (await client.submit(graph(), { idempotencyKey: named })).id === first.id;
const other = graph();
other.setInput("3", "steps", 3);
seen.reuse = await refused(() => client.submit(other, { idempotencyKey: named }));

const endless = graph();
endless.setInput("4", "ckpt_name", "slow");
endless.setInput("3", "steps", 2000);
const slow = await client.submit(endless);
seen.cancel = (await slow.cancel()).status;
seen.failed = await refused(() => slow.result());

const asset = client.assets.fromBytes(data, { filename: "js.png" });
const twin = client.assets.fromBytes(data, { filename: "twin.png" });
const redrawing = graph();
redrawing.json["10"] = { class_type: "LoadImage", inputs: {} };
redrawing.json["11"] = { class_type: "VAEEncode", inputs: { pixels: ["10", 0], vae: ["4", 2] } };
redrawing.setInput("10", "image", asset);
redrawing.setInput("3", "latent_image", ["11", 0]);
seen.edit = (await client.run(redrawing)).status;
await twin.commit();
seen.assets = [asset.createdNew, twin.createdNew];
const old = asset.id;
await asset.delete();
seen.deleted = await refused(() => client.assets.get(old));
seen.unknown = await refused(() => client.jobs.get("none"));

const result = await comfy.models.run("local/tiny", { prompt: "a cat", seed: 5, size: "64x64" });
seen.model = (result.data?.data ?? result.data)[0].seed;
console.log(JSON.stringify(seen));
