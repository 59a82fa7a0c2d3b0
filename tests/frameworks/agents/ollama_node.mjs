// Ollama's client for JavaScript, streaming. It does not read OLLAMA_HOST by itself.
import { Ollama } from "ollama";

const client = new Ollama({ host: process.env.OLLAMA_HOST });
const [, , prompt, more] = process.argv;
const forecast = {
  type: "function",
  function: { name: "forecast", parameters: { type: "object", properties: { city: { type: "string" } } } },
};
const messages = [{ role: "user", content: prompt }];
for (;;) {
  const calls = [];
  const answer = await client.chat({
    model: process.env.LLMPERF_MODEL,
    messages,
    stream: true,
    options: { num_predict: 64 },
    ...(more === "tools" ? { tools: [forecast] } : {}),
  });
  for await (const part of answer) calls.push(...(part.message.tool_calls ?? []));
  if (!calls.length) break;
  messages.push({ role: "assistant", content: "", tool_calls: calls });
  for (const call of calls) messages.push({ role: "tool", content: `sunny in ${call.function.arguments.city}` });
}
