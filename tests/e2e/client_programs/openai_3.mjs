// The official Node package with axios and form-data below it.
import { createReadStream } from "node:fs";
import { createHash } from "node:crypto";
import { Configuration, OpenAIApi } from "openai";

const say = (operation, seen) => console.log(JSON.stringify({ operation, ...seen }));
const { OPENAI_API_KEY: apiKey, OPENAI_BASE_URL: basePath } = process.env;
const client = new OpenAIApi(new Configuration({ apiKey, basePath }));
const { data: made } = await client.createFile(createReadStream(process.argv[2]), "batch");
say("upload", { id: made.id });
say("list", { ids: (await client.listFiles()).data.data.map((file) => file.id) });
const { data: found } = await client.retrieveFile(made.id);
say("retrieve", { id: found.id, bytes: found.bytes, filename: found.filename });
const { data: content } = await client.downloadFile(made.id, { responseType: "arraybuffer" });
say("content", { sha256: createHash("sha256").update(content).digest("hex") });
say("delete", { deleted: (await client.deleteFile(made.id)).data.deleted });
