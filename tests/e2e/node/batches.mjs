// The official Node package, and batches that run on the server of OPENAI_BASE_URL: one JSON line for each check.
import assert from "node:assert/strict";
import { setTimeout } from "node:timers/promises";
import OpenAI, { toFile } from "openai";

const client = new OpenAI({ maxRetries: 0 });
const endpoint = "/v1/chat/completions";

function input(...names) {
  const messages = [{ role: "user", content: "hello" }];
  const lines = names.map((custom_id) => ({ custom_id, method: "POST", url: endpoint, body: { model: "m", messages } }));
  return Buffer.from(lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
}

async function create(...names) {
  const file = await client.files.create({ file: await toFile(input(...names), "in.jsonl"), purpose: "batch" });
  return client.batches.create({
    input_file_id: file.id,
    endpoint,
    completion_window: "24h",
    metadata: { k: "v" },
  });
}

async function ended(batch) {
  for (;;) {
    const found = await client.batches.retrieve(batch.id);
    if (["completed", "failed", "expired", "cancelled"].includes(found.status)) return found;
    await setTimeout(20);
  }
}

const checks = {
  async run_to_the_end() {
    const made = await create("a", "b", "c");
    assert.deepEqual([made.status, made.metadata, made.errors], ["validating", { k: "v" }, null]);
    const batch = await ended(made);
    assert.equal(batch.status, "completed");
    assert.deepEqual(batch.request_counts, { total: 3, completed: 3, failed: 0 });
    assert.equal(batch.error_file_id, null);
    const text = await (await client.files.content(batch.output_file_id)).text();
    const lines = text.trimEnd().split("\n").map((line) => JSON.parse(line));
    assert.deepEqual(lines.map((line) => line.custom_id).sort(), ["a", "b", "c"]);
    assert.equal(lines[0].response.body.choices[0].message.content, "echo: hello");
  },

  async all_pages() {
    const made = [];
    for (let number = 0; number < 5; number += 1) made.unshift((await create("a")).id);
    const found = [];
    for await (const batch of client.batches.list({ limit: 2 })) found.push(batch.id);
    assert.deepEqual(found.slice(0, 5), made);
    assert.equal(new Set(found).size, found.length);
  },

  async cancelled_too_late() {
    const batch = await ended(await create("a"));
    await assert.rejects(client.batches.cancel(batch.id), OpenAI.ConflictError);
  },

  async refused() {
    await assert.rejects(client.batches.retrieve("batch_x"), OpenAI.NotFoundError);
    const given = { input_file_id: "file-x", endpoint: "/v1/x", completion_window: "24h" };
    await assert.rejects(client.batches.create(given), (error) => {
      assert.deepEqual([error.status, error.code, error.param], [400, "invalid_value", "endpoint"]);
      return error instanceof OpenAI.BadRequestError;
    });
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
