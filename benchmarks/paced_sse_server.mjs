// A completions server that emits one token event per period and stamps each one just before the
// write. The stamps (seconds of CLOCK_MONOTONIC, as Python's time.monotonic) are the truth that a
// load driver's own figures are held against. Raw sockets: the server must not be the bottleneck.
//
//   node paced_sse_server.mjs [tokens-per-second-per-stream]      prints "listening PORT"
//   POST /v1/completions   streams max_tokens events; the first one a period after the request,
//                          but on a new connection after a random part of a whole answer's time,
//                          so that streams started together do not stay in lockstep
//   GET  /stamps           one JSON array a finished stream: [id, arrived, stamp, stamp, ...]
//   POST /reset            forgets the stamps kept so far

import net from "node:net";

const periodMs = Math.max(1, Math.round(1000 / Number(process.argv[2] ?? 100)));
const wheel = Array.from({ length: periodMs }, () => []); // streams by the ms they are due in
const WRITES_AT_ONCE = 4;
const due = []; // streams whose next token is to be written now
let wheelMs = Math.floor(nowMs());
let nextId = 0;
let finished = [];

function nowMs() {
  const [s, ns] = process.hrtime();
  return s * 1e3 + ns / 1e6;
}

function chunk(text) {
  return `${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`;
}

function event(fields) {
  return chunk(`data: ${JSON.stringify(fields)}\n\n`);
}

const head = Buffer.from(
  "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n" +
    "transfer-encoding: chunked\r\n\r\n",
);

function openStream(socket, request) {
  const arrived = nowMs() / 1e3;
  const tokens = Number(/"max_tokens":\s*(\d+)/.exec(request)?.[1] ?? 16);
  const prompt = /"prompt":\s*\[([^\]]*)\]/.exec(request)?.[1] ?? "";
  const id = `cmpl-${nextId++}`;
  const stagger = socket.known ? 0 : Math.random() * tokens * periodMs;
  socket.known = true;
  const base = { id, object: "text_completion", created: 1700000000, model: "paced" };
  const choice = { index: 0, text: " token", logprobs: null, finish_reason: null, stop_reason: null };
  const usage = {
    prompt_tokens: prompt ? prompt.split(",").length : 0,
    total_tokens: 0,
    completion_tokens: tokens,
  };
  usage.total_tokens = usage.prompt_tokens + tokens;
  const slot = Math.floor(arrived * 1e3) % periodMs;
  wheel[slot].push({
    id,
    slot,
    socket,
    arrived,
    stamps: [],
    tokens,
    token: Buffer.from(event({ ...base, choices: [choice], usage: null })),
    tail: Buffer.from(event({ ...base, choices: [], usage }) + chunk("data: [DONE]\n\n") + "0\r\n\r\n"),
    notBefore: arrived * 1e3 + periodMs / 2 + stagger, // never due in the turn it arrived in
  });
}

function advance(stream) {
  stream.stamps.push(nowMs() / 1e3);
  const first = stream.stamps.length === 1; // its head goes with it: one write, one read a token
  stream.socket.write(first ? Buffer.concat([head, stream.token]) : stream.token);
  if (stream.stamps.length < stream.tokens) return true;
  stream.socket.write(stream.tail);
  finished.push(JSON.stringify([stream.id, stream.arrived, ...stream.stamps]));
  return false;
}

// Writes are done a few at a time, so that requests that come meanwhile are stamped in time.
function turn() {
  for (const now = Math.floor(nowMs()); wheelMs < now; wheelMs++) {
    due.push(...wheel[(wheelMs + 1) % periodMs].splice(0));
  }
  for (const stream of due.splice(0, WRITES_AT_ONCE)) {
    if (stream.socket.destroyed) continue;
    if (nowMs() < stream.notBefore || advance(stream)) wheel[stream.slot].push(stream);
  }
  if (due.length) setImmediate(turn);
  else setTimeout(turn, 1);
}

function answer(socket, request) {
  if (request.startsWith("POST /v1/completions")) return openStream(socket, request);
  let body = "ok";
  if (request.startsWith("GET /stamps")) body = finished.join("\n");
  else if (request.startsWith("POST /reset")) finished = [];
  socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`);
}

const server = net.createServer((socket) => {
  let held = "";
  socket.setNoDelay(true);
  socket.on("error", () => socket.destroy());
  socket.on("data", (data) => {
    held += data.toString("latin1");
    for (;;) {
      const head = held.indexOf("\r\n\r\n");
      if (head < 0) return;
      const length = Number(/content-length:\s*(\d+)/i.exec(held.slice(0, head))?.[1] ?? 0);
      const end = head + 4 + length;
      if (held.length < end) return;
      answer(socket, held.slice(0, end));
      held = held.slice(end);
    }
  });
});
server.listen(0, "127.0.0.1", 4096, () => {
  console.log(`listening ${server.address().port}`);
  turn();
});
