// Sends jobs (see jobs.py) with Node's own fetch, which reads while it sends; one JSON line for each job.
import { readFileSync } from "node:fs";

const jobs = JSON.parse(readFileSync(process.argv[2], "utf8"));

function chunks(body) {
  let at = 0;
  return new ReadableStream({
    pull(controller) {
      if (at >= body.length) return controller.close();
      controller.enqueue(body.subarray(at, at + 65536));
      at += 65536;
    },
  });
}

for (const job of jobs) {
  if (job.expect) continue; // fetch refuses to send it
  const body = Buffer.concat([Buffer.from(job.fields), Buffer.alloc(job.size, "x"), Buffer.from("\r\n--job--\r\n")]);
  const outcomes = [];
  for (let n = 0; n < job.tries; n++) {
    try {
      const init = job.chunked ? { body: chunks(body), duplex: "half" } : { body };
      const response = await fetch(job.url, { method: job.method, headers: job.headers, ...init });
      const { error } = await response.json();
      outcomes.push(error && error.message ? response.status : "no envelope");
    } catch (error) {
      outcomes.push(`${error.message}: ${error.cause && (error.cause.code || error.cause.message)}`);
    }
  }
  console.log(JSON.stringify({ name: job.name, chunked: job.chunked, expect: job.expect, outcomes }));
}
