// JsSIP in a page that a test controls: the page evaluates what the test sends to it by WebSocket,
// and sends back the result.

import JsSIP from "jssip";

const context = new AudioContext();
const constraints = { mediaConstraints: { audio: true, video: false }, pcConfig: { iceServers: [] } };

globalThis.state = { registered: false, session: null, digits: "", log: [] };

// The tone that this end says, in Hz.
function tone(frequency) {
  const oscillator = new OscillatorNode(context, { frequency });
  const destination = new MediaStreamAudioDestinationNode(context);
  oscillator.connect(new GainNode(context, { gain: 0.2 })).connect(destination);
  oscillator.start();
  return destination.stream;
}

function listen(connection) {
  connection.addEventListener("track", ({ streams, track }) => {
    const stream = streams[0] ?? new MediaStream([track]);
    // Chromium decodes a remote stream only while an element plays it.
    const audio = new Audio();
    audio.srcObject = stream;
    audio.muted = true;
    audio.play();
    state.analyser = new AnalyserNode(context, { fftSize: 4096, smoothingTimeConstant: 0 });
    new MediaStreamAudioSourceNode(context, { mediaStream: stream }).connect(state.analyser);
  });
}

globalThis.register = (server, user, host) => {
  const sockets = [new JsSIP.WebSocketInterface(server)];
  const agent = new JsSIP.UA({ sockets, uri: `sip:${user}@${host}`, session_timers: true });
  state.agent = agent;
  agent.on("registered", () => (state.registered = true));
  agent.on("registrationFailed", ({ cause }) => state.log.push(`registration failed: ${cause}`));
  agent.on("newRTCSession", ({ session, originator }) => {
    state.session = session;
    state.digits = "";
    session.on("newDTMF", ({ dtmf, originator }) => {
      if (originator === "remote") state.digits += dtmf.tone;
    });
    session.on("peerconnection", ({ peerconnection }) => listen(peerconnection));
    if (session.connection) listen(session.connection);
    session.on("failed", ({ cause, originator }) => state.log.push(`failed: ${cause} (${originator})`));
    session.on("ended", ({ cause, originator }) => state.log.push(`ended: ${cause} (${originator})`));
    session.on("sdp", ({ originator, type, sdp }) => state.log.push(`${originator} ${type}\n${sdp}`));
    if (originator === "remote") session.answer({ mediaStream: tone(700), ...constraints });
  });
  agent.start();
};

globalThis.dial = (target) => {
  state.agent.call(target, { mediaStream: tone(700), ...constraints });
};

// The loudest frequencies that are heard, in Hz, and the level of the first, in dB.
globalThis.peaks = (count) => {
  if (!state.analyser) return { frequencies: [], level: -200 };
  const levels = new Float32Array(state.analyser.frequencyBinCount);
  state.analyser.getFloatFrequencyData(levels);
  const loudest = [...levels.keys()]
    .filter((at) => at > 0 && levels[at] >= levels[at - 1] && levels[at] >= (levels[at + 1] ?? -200))
    .sort((one, other) => levels[other] - levels[one]);
  const frequencies = loudest.slice(0, count).map((at) => (at * context.sampleRate) / 4096);
  return { frequencies, level: levels[loudest[0]] ?? -200 };
};

// Whether these are the loudest frequencies, within 20 Hz, and above -60 dB.
globalThis.hears = (wanted) => {
  const { frequencies, level } = peaks(wanted.length);
  const near = (one) => frequencies.some((heard) => Math.abs(heard - one) < 20);
  return level > -60 && wanted.every(near);
};

const commands = new WebSocket(location.hash.slice(1));
commands.onmessage = async ({ data }) => {
  try {
    await context.resume();
    commands.send(JSON.stringify({ result: (await (0, eval)(data)) ?? null }));
  } catch (error) {
    commands.send(JSON.stringify({ error: String(error) }));
  }
};
