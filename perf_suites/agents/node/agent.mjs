// The specification of SPEC.md with node:http, whose connections are closed after each answer; fetch would keep them.
import { randomBytes } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import http from "node:http";
import { extname, join } from "node:path";

const [mode, ...words] = process.argv.slice(2);
const folder = mode === "workflow" ? words.shift() : undefined;
const [reports] = words;

function post(base, path, body, onText) {
  return new Promise((resolve, reject) => {
    const headers = { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(body) };
    const request = http.request(base + path, { method: "POST", agent: false, headers }, (answer) => {
      answer.setEncoding("utf8");
      answer.on("data", onText);
      answer.on("error", reject);
      answer.on("end", () => resolve(answer.statusCode));
    });
    request.on("error", reject);
    request.end(body);
  });
}

// Tells the tap where the agent begins or ends, if it reads marks.
async function mark(base, moment) {
  if (process.env.LLMPERF_MARKS === "1") await post(base, `/llmperf/${moment}`, "", () => {});
}

async function ask(base, prompt) {
  const body = JSON.stringify({
    model: process.env.LLMPERF_MODEL,
    prompt: `${randomBytes(16).toString("hex")} ${prompt}`,
    stream: true,
    options: { num_predict: Number(process.env.LLMPERF_NUM_PREDICT ?? 32), seed: 42 },
  });
  let text = "";
  let rest = "";
  const status = await post(base, "/api/generate", body, (piece) => {
    const lines = (rest + piece).split("\n");
    rest = lines.pop();
    for (const line of lines) text += JSON.parse(line).response ?? "";
  });
  if (status !== 200) throw new Error(`the server answered ${status}`);
  return text;
}

function ingest() {
  const rates = [];
  let configurations = 0;
  let count = 0;
  for (const name of readdirSync(folder).sort()) {
    const text = readFileSync(join(folder, name), "utf8");
    if (extname(name) === ".csv") {
      const [header, ...rows] = text.trim().split(/\r?\n/).map((line) => line.split(","));
      const column = header.indexOf("tok_s");
      for (const row of rows) rates.push(Number(row[column]));
    } else if (extname(name) === ".json") {
      if (!JSON.parse(text).name) throw new Error(`${name} has no name`);
      configurations += 1;
    } else if (extname(name) === ".md") {
      count += text.split(/\s+/).filter(Boolean).length;
    }
  }
  const mean = rates.reduce((sum, rate) => sum + rate, 0) / rates.length;
  return `${rates.length} runs of ${configurations} configurations: mean ${mean.toFixed(1)} tok/s, ${count} words`;
}

async function agent(name, base) {
  await mark(base, "begin");
  const first = folder ? `Readings of ${ingest()}. What stands out is` : "Describe the readings.";
  const analysis = await ask(base, first);
  const second = folder ? "Write the report. The readings show" : "In one sentence, the readings show";
  const report = await ask(base, second);
  if (reports) {
    writeFileSync(join(reports, `${name}.md`), `# Report\n\n## Analysis\n\n${analysis}\n\n## Report\n\n${report}\n`);
  }
  await mark(base, "end");
}

const names = process.env.LLMPERF_AGENTS;
await Promise.all(
  names
    ? names.split(",").map((name) => agent(name, process.env[`LLMPERF_BASE_URL_${name.toUpperCase()}`]))
    : [agent("agent", process.env.LLMPERF_BASE_URL)],
);
console.log(JSON.stringify({ language: "node", runtime: "node:http", version: process.versions.node }));
