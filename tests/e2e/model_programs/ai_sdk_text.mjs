// The Vercel AI SDK: text of a model about an uploaded file, whole and streamed.
import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { createOpenAI } from "@ai-sdk/openai";
import { generateText, streamText, uploadFile } from "ai";

const say = (operation, seen) => console.log(JSON.stringify({ operation, ...seen }));
const path = process.argv[2];
const openai = createOpenAI({ baseURL: process.env.OPENAI_BASE_URL });
const { providerReference } = await uploadFile({
  api: openai,
  data: new Uint8Array(readFileSync(path)),
  filename: basename(path),
  mediaType: "text/plain",
  providerOptions: { openai: { purpose: "user_data" } },
});
say("upload", { id: providerReference.openai });
const content = [
  { type: "text", text: "What is it?" },
  { type: "file", data: providerReference, mediaType: "application/pdf" },
];
const messages = [{ role: "user", content }];
say("answer", { text: (await generateText({ model: openai("m"), messages })).text });
say("stream", { text: await streamText({ model: openai("m"), messages }).text });
