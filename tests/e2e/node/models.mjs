// The official Node package, with a model behind the server of OPENAI_BASE_URL: one JSON line for each check.
import assert from "node:assert/strict";
import OpenAI, { toFile } from "openai";

const client = new OpenAI({ maxRetries: 0 });
const messages = [{ role: "user", content: "hello" }];

const checks = {
  async chat() {
    const completion = await client.chat.completions.create({ model: "m", messages });
    assert.equal(completion.choices[0].message.content, "echo: hello");
  },

  async streamed_chat() {
    let text = "";
    const stream = await client.chat.completions.create({ model: "m", messages, stream: true });
    for await (const event of stream) text += event.choices[0].delta.content ?? "";
    assert.equal(text, "echo: hello");
  },

  async responses() {
    const response = await client.responses.create({ model: "m", input: "hello" });
    assert.equal(response.output_text, "echo: hello");
    const final = await client.responses.stream({ model: "m", input: "hello" }).finalResponse();
    assert.equal(final.output_text, "echo: hello");
  },

  async embeddings() {
    const made = await client.embeddings.create({ model: "m", input: ["a", "b"], encoding_format: "float" });
    assert.deepEqual(made.data.map((row) => row.embedding.length), [8, 8]);
  },

  async models() {
    const found = [];
    for await (const model of client.models.list()) found.push(model.id);
    assert.deepEqual(found, ["m", "org/n"]);
    assert.equal((await client.models.retrieve("org/n")).id, "org/n");
    await assert.rejects(client.models.retrieve("none"), OpenAI.NotFoundError);
  },

  async transcription() {
    const file = await toFile(Buffer.alloc(5 * 2 ** 20), "a.wav");
    const made = await client.audio.transcriptions.create({ file, model: "m" });
    assert.match(made.text, /bytes$/);
  },

  async files_in_chat_and_responses() {
    const fact = "A quokka.";
    const file = await client.files.create({ file: await toFile(Buffer.from(fact), "a.txt"), purpose: "user_data" });
    const content = [{ type: "file", file: { file_id: file.id } }];
    const completion = await client.chat.completions.create({ model: "m", messages: [{ role: "user", content }] });
    assert.ok(completion.choices[0].message.content.includes(fact));
    const input = [{ role: "user", content: [{ type: "input_file", file_id: file.id }] }];
    const response = await client.responses.create({ model: "m", input });
    assert.ok(response.output_text.includes(fact));
    await client.files.delete(file.id);
    await assert.rejects(client.responses.create({ model: "m", input }), OpenAI.BadRequestError);
  },
};

for (const [check, run] of Object.entries(checks)) {
  let error = null;
  try {
    await run();
  } catch (thrown) {
    error = String(thrown?.stack ?? thrown);
  }
  console.log(JSON.stringify({ check, error }));
}
