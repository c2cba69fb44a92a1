// A bot on jambonz's SDK, run in its environment: `bot.mjs`. It does and prints the same as
// pipecat_bot.py.

import http from "node:http";
import { createEndpoint } from "@jambonz/sdk/websocket";

const tell = (event) => console.log(JSON.stringify(event));

const tone = (frequency, seconds, rate) => {
  const pcm = Buffer.alloc(2 * seconds * rate);
  for (let n = 0; n < seconds * rate; n++) {
    pcm.writeInt16LE(Math.round(8000 * Math.sin((2 * Math.PI * frequency * n) / rate)), 2 * n);
  }
  return pcm;
};

const server = http.createServer();
const audio = createEndpoint({ server }).audio({ path: "/audio" });

audio.on("connection", (stream) => {
  let echoes = false;
  tell({ event: "call", kind: "jambonz", metadata: stream.metadata });
  stream.sendAudio(tone(600, 3, stream.sampleRate));
  stream.on("audio", (pcm) => echoes && stream.sendAudio(pcm));
  stream.on("dtmf", ({ digit }) => {
    tell({ event: "digit", digit });
    if (digit === "1") {
      stream.killAudio();
    } else if (digit === "2") {
      echoes = true;
    } else if (digit === "#") {
      stream.disconnect();
    }
  });
  stream.on("close", (code) => tell({ event: "closed", code }));
});

server.listen(0, "127.0.0.1", () => {
  tell({ event: "port", port: server.address().port, path: "audio" });
});
