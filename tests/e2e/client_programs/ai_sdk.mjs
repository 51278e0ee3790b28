// The files of the Vercel AI SDK's provider: no listing. `uploadFile` of `ai` itself leads here.
import { readFileSync } from "node:fs";
import { createHash } from "node:crypto";
import { basename } from "node:path";
import { createOpenAI } from "@ai-sdk/openai";
import { uploadFile } from "ai";

const say = (operation, seen) => console.log(JSON.stringify({ operation, ...seen }));
const path = process.argv[2];
const openai = createOpenAI({ baseURL: process.env.OPENAI_BASE_URL });
const { providerReference: file } = await uploadFile({
  api: openai,
  data: new Uint8Array(readFileSync(path)),
  filename: basename(path),
  mediaType: "application/jsonl",
  providerOptions: { openai: { purpose: "batch" } },
});
say("upload", { id: file.openai });
const api = openai.files();
const found = await api.getFileMetadata({ file });
say("retrieve", { id: found.providerReference.openai, bytes: found.byteSize, filename: found.filename });
const hash = createHash("sha256");
for await (const block of (await api.downloadFile({ file })).content) hash.update(block);
say("content", { sha256: hash.digest("hex") });
say("delete", { deleted: (await api.deleteFile({ file })).deleted });
