// Serves with node's ws on a free port of 127.0.0.1, which it prints, until it is ended.
//   node server.mjs PATH_OF_WS
import { createRequire } from "node:module";

const { WebSocketServer } = createRequire(import.meta.url)(process.argv[2]);
const server = new WebSocketServer({
  host: "127.0.0.1",
  port: 0,
  perMessageDeflate: { threshold: 0 },
  handleProtocols: (offered) => (offered.has("feed.v1") ? "feed.v1" : false),
  verifyClient: ({ req }) => req.url !== "/refused",
});
server.on("listening", () => console.log(server.address().port));
server.on("connection", (ws, request) => {
  if (request.url === "/close") ws.close(4001, "ça suffit");
  if (request.url === "/vanish") ws.terminate();
  if (request.url === "/fragments") {
    ws.send("in ", { fin: false });
    ws.send("three ", { fin: false });
    ws.send("parts", { fin: true });
  }
  ws.on("message", (data, isBinary) => ws.send(data, { binary: isBinary }));
});
