// Connects with node's ws, does what its arguments say, and prints what it has seen as one line of JSON.
//   node client.mjs PATH_OF_WS URL WHAT
import { createRequire } from "node:module";

const [, , path, url, what] = process.argv;
const { WebSocket } = createRequire(import.meta.url)(path);
const seen = { messages: [] };
const MiB = 2 ** 20;

const ws = new WebSocket(url, what === "subprotocol" ? ["feed.v1", "feed.v2"] : [], {
  perMessageDeflate: what !== "uncompressed",
  maxPayload: 4 * MiB,
  headers: what === "foreign" ? { Origin: "https://example.com" } : {},
});
ws.on("error", (error) => (seen.error = error.message));
ws.on("ping", (data) => (seen.ping = data.toString()));
ws.on("close", (code, reason) => {
  console.log(JSON.stringify({ ...seen, code, reason: reason.toString() }));
});

const toSend = {
  echo: ["", "grüße 🎉", Buffer.from([0, 255, 128]), "x".repeat(MiB), Buffer.alloc(MiB, 7)],
  uncompressed: ["x".repeat(MiB), Buffer.alloc(MiB, 7)],
}[what] ?? [];

ws.on("open", () => {
  seen.subprotocol = ws.protocol;
  seen.extensions = ws.extensions;
  if (what === "close") ws.close(4001, "ça suffit");
  if (what === "vanish") ws.terminate();
  if (what === "fragments") {
    ws.send("in ", { fin: false });
    ws.ping("between");
    ws.send("three ", { fin: false });
    ws.send("parts", { fin: true });
  }
  if (what === "ping") ws.ping("are you there?");
  for (const message of toSend) ws.send(message);
});
ws.on("pong", (data) => {
  seen.pong = data.toString();
  if (what === "ping") ws.close(1000);
});
ws.on("message", (data, isBinary) => {
  const sent = toSend[seen.messages.length];
  seen.messages.push(isBinary ? "binary" : "text");
  if (sent === undefined) seen.text = data.toString();
  else if (!data.equals(Buffer.from(sent))) seen.error = `message ${seen.messages.length} differs`;
  if (seen.messages.length === (toSend.length || 1)) ws.close(1000);
});
