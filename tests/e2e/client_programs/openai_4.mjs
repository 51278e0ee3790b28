// The official Node package with node-fetch and formdata-node below it.
import { createReadStream } from "node:fs";
import { createHash } from "node:crypto";
import OpenAI from "openai";

const say = (operation, seen) => console.log(JSON.stringify({ operation, ...seen }));
const client = new OpenAI();
const made = await client.files.create({ file: createReadStream(process.argv[2]), purpose: "batch" });
say("upload", { id: made.id });
say("list", { ids: (await client.files.list()).data.map((file) => file.id) });
const found = await client.files.retrieve(made.id);
say("retrieve", { id: found.id, bytes: found.bytes, filename: found.filename });
const content = Buffer.from(await (await client.files.content(made.id)).arrayBuffer());
say("content", { sha256: createHash("sha256").update(content).digest("hex") });
say("delete", { deleted: (await client.files.del(made.id)).deleted });
