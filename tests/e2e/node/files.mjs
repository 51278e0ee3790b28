// The official Node package against the server of OPENAI_BASE_URL: one JSON line for each check on standard output.
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { createReadStream, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import OpenAI, { toFile } from "openai";

const client = new OpenAI({ maxRetries: 0 });
const folder = mkdtempSync(join(tmpdir(), "filestead-node-"));
const digest = (bytes) => createHash("sha256").update(bytes).digest("hex");

const checks = {
  async upload_of_a_stream() {
    const path = join(folder, "stream.bin");
    writeFileSync(path, randomBytes(5 * 2 ** 20));
    const file = await client.files.create({ file: createReadStream(path), purpose: "user_data" });
    assert.equal(file.object, "file");
    assert.equal(file.filename, "stream.bin");
    assert.equal(file.bytes, 5 * 2 ** 20);
    assert.equal(file.purpose, "user_data");
    assert.equal(file.status, "processed");
    assert.equal(file.expires_at, null);
    const content = await client.files.content(file.id);
    assert.equal(digest(Buffer.from(await content.arrayBuffer())), digest(readFileSync(path)));
  },

  async upload_of_a_buffer_with_any_name() {
    for (const name of ["naïve – データ 📎.txt", 'a "quoted" name.txt', "100% a+b.txt"]) {
      const file = await client.files.create({ file: await toFile(Buffer.from("node"), name), purpose: "user_data" });
      assert.equal(file.filename, name);
      assert.equal((await client.files.retrieve(file.id)).filename, name);
    }
  },

  async upload_that_expires() {
    const file = await client.files.create({
      file: await toFile(Buffer.from("soon gone"), "soon.txt"),
      purpose: "user_data",
      expires_after: { anchor: "created_at", seconds: 7200 },
    });
    assert.equal(file.expires_at, file.created_at + 7200);
  },

  async list_follows_its_pages() {
    const ids = [];
    for (let number = 0; number < 7; number += 1) {
      const file = await toFile(Buffer.from(`${number}`), `${number}.png`);
      ids.push((await client.files.create({ file, purpose: "vision" })).id);
    }
    for (const [order, expected] of [["asc", ids], ["desc", ids.toReversed()]]) {
      const found = [];
      for await (const file of client.files.list({ purpose: "vision", limit: 3, order })) found.push(file.id);
      assert.deepEqual(found, expected);
    }
    const page = await client.files.list({ purpose: "vision", limit: 4, order: "asc", after: ids[0] });
    assert.deepEqual(page.data.map((file) => file.id), ids.slice(1, 5));
    assert.equal(page.has_more, true);
    assert.equal(page.hasNextPage(), true);
    const last = await page.getNextPage();
    assert.deepEqual(last.data.map((file) => file.id), ids.slice(5));
    assert.equal(last.hasNextPage(), false);
  },

  async retrieve_gives_what_create_gave() {
    const file = await client.files.create({ file: await toFile(Buffer.from("same"), "same.txt"), purpose: "user_data" });
    assert.deepEqual(await client.files.retrieve(file.id), file);
    assert.deepEqual(await client.files.waitForProcessing(file.id, { pollInterval: 10, maxWait: 100 }), file);
  },

  async content_in_every_way() {
    const bytes = Buffer.from("Zeile – 日本\n");
    const file = await client.files.create({ file: await toFile(bytes, "text.txt"), purpose: "user_data" });
    const response = await client.files.content(file.id);
    assert.equal(response.headers.get("content-type"), "application/octet-stream");
    assert.deepEqual(Buffer.from(await response.arrayBuffer()), bytes);
    assert.equal(await (await client.files.content(file.id)).text(), bytes.toString());
    const chunks = [];
    for await (const chunk of (await client.files.content(file.id)).body) chunks.push(chunk);
    assert.deepEqual(Buffer.concat(chunks), bytes);
  },

  async delete_and_not_found() {
    const file = await client.files.create({ file: await toFile(Buffer.from("x"), "x.txt"), purpose: "user_data" });
    assert.deepEqual({ ...(await client.files.delete(file.id)) }, { object: "file", deleted: true, id: file.id });
    for (const call of [client.files.retrieve, client.files.content, client.files.delete]) {
      const error = await failure(() => call.call(client.files, file.id));
      assert.ok(error instanceof OpenAI.NotFoundError);
      assert.equal(error.status, 404);
      assert.equal(error.message, `404 No such File object: ${file.id}`);
      assert.equal(error.param, "id");
      assert.equal(error.code, null);
      assert.equal(error.type, "invalid_request_error");
      assert.match(error.requestID, /^req_[0-9a-f]{32}$/);
    }
  },

  async refused_upload() {
    const file = await toFile(Buffer.from("x"), "x.txt");
    const error = await failure(() => client.files.create({ file, purpose: "x" }));
    assert.ok(error instanceof OpenAI.BadRequestError);
    assert.equal(error.param, "purpose");
    assert.match(error.message, /'x' is not one of \['fine-tune', 'assistants', 'batch',/);
  },

  async upload_in_parts() {
    const contents = [randomBytes(3 * 2 ** 20), randomBytes(2 ** 20), Buffer.from("last")];
    const whole = Buffer.concat(contents);
    const upload = await client.uploads.create({
      bytes: whole.length, filename: "parts.bin", mime_type: "application/octet-stream", purpose: "user_data",
    });
    assert.deepEqual([upload.object, upload.status, "file" in upload], ["upload", "pending", false]);
    const parts = await Promise.all(
      contents.map(async (each) => client.uploads.parts.create(upload.id, { data: await toFile(each, "part") })),
    );
    assert.deepEqual(parts.map((part) => [part.object, part.upload_id]), parts.map(() => ["upload.part", upload.id]));
    const md5 = createHash("md5").update(whole).digest("hex");
    const done = await client.uploads.complete(upload.id, { part_ids: parts.map((part) => part.id), md5 });
    assert.deepEqual([done.status, done.file.bytes, done.file.filename], ["completed", whole.length, "parts.bin"]);
    const content = await client.files.content(done.file.id);
    assert.equal(digest(Buffer.from(await content.arrayBuffer())), digest(whole));
    const error = await failure(() => client.uploads.cancel(upload.id));
    assert.match(error.message, /is not pending \(status: completed\)/);
  },

  async vector_store_helpers() {
    const store = await client.vectorStores.create({ name: "node" });
    const cats = await client.vectorStores.files.uploadAndPoll(
      store.id, await toFile(Buffer.from("Cats hunt mice."), "cats.txt"), { pollIntervalMs: 100 },
    );
    assert.equal(cats.status, "completed");
    const files = [await toFile(Buffer.from("Dogs bark."), "dogs.md"), await toFile(Buffer.from("{}x"), "x.pdf")];
    const batch = await client.vectorStores.fileBatches.uploadAndPoll(store.id, { files }, { pollIntervalMs: 100 });
    assert.deepEqual([batch.file_counts.completed, batch.file_counts.failed], [1, 1]);
    const found = await client.vectorStores.search(store.id, { query: "mouse hunting" });
    assert.deepEqual(found.data.map((each) => each.filename), ["cats.txt"]);
    await client.files.delete(cats.id);
    assert.deepEqual((await client.vectorStores.search(store.id, { query: "mice" })).data, []);
  },

  async wrong_key_and_wrong_project() {
    const stranger = new OpenAI({ apiKey: "sk-wrong-wrong-wrong-1234", maxRetries: 0 });
    const error = await failure(() => stranger.files.list());
    assert.ok(error instanceof OpenAI.AuthenticationError);
    assert.equal(error.code, "invalid_api_key");
    const lost = new OpenAI({ project: "someone-elses", maxRetries: 0 });
    assert.equal((await failure(() => lost.files.list())).code, "mismatched_project");
  },
};

async function failure(call) {
  try {
    await call();
  } catch (error) {
    return error;
  }
  throw new assert.AssertionError({ message: "the call succeeded" });
}

for (const [check, run] of Object.entries(checks)) {
  let error = null;
  try {
    await run();
  } catch (caught) {
    error = caught.stack;
  }
  console.log(JSON.stringify({ check, error }));
}
rmSync(folder, { recursive: true });
