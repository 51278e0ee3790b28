// Sends jobs (see jobs.py) with node:http on kept connections, as axios does; one JSON line for each job.
import { readFileSync } from "node:fs";
import http from "node:http";
import { Readable } from "node:stream";

const jobs = JSON.parse(readFileSync(process.argv[2], "utf8"));
const agent = new http.Agent({ keepAlive: true });

function send(job, body) {
  return new Promise((resolve) => {
    const headers = { ...job.headers };
    if (!job.chunked) headers["content-length"] = body.length;
    if (job.expect) headers.expect = "100-continue";
    const request = http.request(job.url, { method: job.method, headers, agent }, (response) => {
      const parts = [];
      response.on("data", (part) => parts.push(part));
      response.on("error", (error) => resolve(`in the answer: ${error.code || error.message}`));
      response.on("end", () => {
        try {
          resolve(JSON.parse(Buffer.concat(parts)).error.message ? response.statusCode : "no envelope");
        } catch (error) {
          resolve(error.message);
        }
      });
    });
    request.on("error", (error) => resolve(error.code || error.message));
    const pump = () => {
      const pieces = [];
      for (let at = 0; at < body.length; at += 65536) pieces.push(body.subarray(at, at + 65536));
      Readable.from(pieces).pipe(request);
    };
    if (job.expect) {
      request.on("continue", pump);
      request.flushHeaders();
    } else pump();
  });
}

for (const job of jobs) {
  const body = Buffer.concat([Buffer.from(job.fields), Buffer.alloc(job.size, "x"), Buffer.from("\r\n--job--\r\n")]);
  const outcomes = [];
  for (let n = 0; n < job.tries; n++) outcomes.push(await send(job, body));
  console.log(JSON.stringify({ name: job.name, chunked: job.chunked, expect: job.expect, outcomes }));
}
agent.destroy();
