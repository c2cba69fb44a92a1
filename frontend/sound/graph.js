// @ts-check
/**
 * The Web Audio side of a call:
 *
 *     microphone -> volume -> microphone worklet -> frames out
 *     frames in -> speaker worklet -> volume -> tap (level, capture) -> destination
 *
 * Event: `change` when `microphone`, `silent`, `blocked` or `stalled` changes.
 */

import { waitsForGesture } from "./leave.js";

/** @import { Devices } from "./devices.js" */
/** @import { Frame } from "./frame.js" */

/** @typedef {"microphone" | "speaker"} Side */
/**
 * @typedef {object} Nodes
 * @property {AudioWorkletNode} speaker
 * @property {GainNode} speakerVolume
 * @property {AudioWorkletNode} tap
 * @property {GainNode} microphoneVolume
 * @property {AudioWorkletNode} microphone
 */

const HIGHEST_RATE = 48000;
const SILENCE_DBFS = -100;
// A context that may run does so within a few milliseconds; one that waits for a gesture does not.
const SETTLING_MS = 400;
const STALLED_MS = 2000;
// A microphone that is switched off at the headset delivers zeros; any room is louder than this.
const SWITCHED_OFF_DBFS = -95;
const SILENT_MS = 6000;

/** @param {number | null} rate */
function createContext(rate) {
  /** @type {AudioContextOptions} */
  const options = { latencyHint: "interactive" };
  if (rate) {
    try {
      return new AudioContext({ ...options, sampleRate: rate });
    } catch {
      // This browser does not run at that rate; the device's own is the next best.
    }
  }
  const context = new AudioContext(options);
  // The protocol takes rates that make whole frames of 20 ms, up to 48 kHz.
  if (context.sampleRate <= HIGHEST_RATE && context.sampleRate % 50 === 0) return context;
  context.close();
  return new AudioContext({ ...options, sampleRate: HIGHEST_RATE });
}

export class Graph extends EventTarget {
  /** `off`, `asking`, `on`, or why there is none: `denied`, `missing`, `failed`, `insecure`. */
  microphone = "off";
  /** The microphone is open, and nothing but zeros has come from it for some seconds. */
  silent = false;
  /** The browser waits for a gesture before it plays sound. */
  blocked = false;
  /** The browser plays nothing although it could: it has no device that works. */
  stalled = false;
  /** RMS in dBFS. */
  levels = { microphone: SILENCE_DBFS, speaker: SILENCE_DBFS };
  /** Samples that the playout ring threw away. */
  dropped = 0;
  /** @type {(frame: ArrayBuffer) => void} Called with each microphone frame, 12 free bytes in front. */
  onFrame = () => {};

  /** @type {AudioContext | null} */
  #context = null;
  /** @type {Promise<void> | null} */
  #ready = null;
  /** @type {Nodes | null} */
  #nodes = null;
  /** @type {MediaStream | null} */
  #stream = null;
  /** @type {MediaStreamAudioSourceNode | null} */
  #source = null;
  #frameSamples = 0;
  #muted = false;
  #heardAt = 0;
  #watcher = 0;
  #volumes = { microphone: 1, speaker: 1 };
  /** @type {{samples: number[], wanted: number, rate: number, resolve: (heard: object) => void, reject: (error: Error) => void}[]} */
  #captures = [];
  /** The rate in Hz that was asked for; the context may run at another one. */
  #asked = 0;
  #deviceRateOnly = false;
  /** Counts the times that the microphone was given back. */
  #session = 0;
  /** performance.now() when the microphone was opened; null after its first sound. */
  /** @type {number | null} */
  #mutesSince = null;
  #onState = () => this.#judge();

  #devices;

  /** @param {Devices} devices */
  constructor(devices) {
    super();
    this.#devices = devices;
    devices.addEventListener("microphone", () => this.#changeMicrophone());
    devices.addEventListener("speaker", () => this.#routeSpeaker());
  }

  /** Whether this browser gives the page sound at all: worklets need HTTPS or this very machine. */
  static get possible() {
    return isSecureContext && "AudioWorklet" in window;
  }

  get rate() {
    return this.#context?.sampleRate ?? 0;
  }

  get running() {
    return this.#context?.state === "running";
  }

  /**
   * Create the context at `rate` Hz if there is none. The first part is synchronous, so that it can be
   * called in a gesture and the browser sees that the person asked for sound. Resolves when it is built.
   *
   * @param {number} rate
   */
  open(rate) {
    if (!this.#context) {
      this.#asked = rate;
      const context = createContext(this.#deviceRateOnly ? null : rate);
      this.#context = context;
      this.#routeSpeaker();
      context.addEventListener("statechange", this.#onState);
      setTimeout(() => this.#judge(), SETTLING_MS);
      this.#ready = this.#build(context);
    }
    this.resume();
    return this.#ready;
  }

  /**
   * Run at `rate` Hz: a context keeps its rate, so another rate takes another context. An open microphone
   * stays open. A browser that takes microphones only at the device's rate (Firefox) runs at that rate.
   *
   * @param {number} rate
   */
  async tune(rate) {
    if (rate !== this.#asked && !this.#deviceRateOnly) this.#closeContext();
    await this.open(rate);
    if (this.#connectMicrophone()) return;
    this.#deviceRateOnly = true;
    this.#closeContext();
    await this.open(rate);
    this.#connectMicrophone();
  }

  /** Connect the microphone that is open. False if it cannot be connected at this rate. */
  #connectMicrophone() {
    if (!this.#stream || !this.#nodes || !this.#context || this.#source) return true;
    try {
      this.#source = this.#context.createMediaStreamSource(this.#stream);
    } catch (error) {
      if (error.name !== "NotSupportedError") throw error;
      return false;
    }
    this.#source.connect(this.#nodes.microphoneVolume);
    return true;
  }

  /** @param {AudioContext} context */
  async #build(context) {
    const names = ["speaker-worklet.js", "microphone-worklet.js"];
    try {
      await Promise.all(names.map((name) => context.audioWorklet.addModule(new URL(name, import.meta.url))));
    } catch (error) {
      // A context that was closed meanwhile cannot load anything, and need not.
      if (context === this.#context) throw error;
    }
    if (context !== this.#context) return;
    /** @type {AudioWorkletNodeOptions} */
    const mono = { channelCount: 1, channelCountMode: "explicit", outputChannelCount: [1] };
    const nodes = {
      speaker: new AudioWorkletNode(context, "spech-speaker", { numberOfInputs: 0, outputChannelCount: [1] }),
      speakerVolume: new GainNode(context, { gain: this.#volumes.speaker }),
      tap: new AudioWorkletNode(context, "spech-tap", mono),
      microphoneVolume: new GainNode(context, { gain: this.#volumes.microphone }),
      microphone: new AudioWorkletNode(context, "spech-microphone", { ...mono, numberOfOutputs: 1 }),
    };
    nodes.speaker.connect(nodes.speakerVolume).connect(nodes.tap).connect(context.destination);
    // The microphone worklet has no output; the connection keeps browsers from suspending it.
    nodes.microphoneVolume.connect(nodes.microphone).connect(context.destination);
    nodes.speaker.port.onmessage = ({ data }) => {
      this.dropped = data.dropped;
    };
    nodes.tap.port.onmessage = ({ data }) => {
      if ("level" in data) this.#hear(data.level);
      else this.#captured(data.block);
    };
    nodes.microphone.port.onmessage = ({ data }) => {
      if ("level" in data) this.#hearMicrophone(data.level);
      else this.onFrame(data.frame);
    };
    nodes.microphone.port.postMessage({ muted: this.#muted, frame: this.#frameSamples });
    this.#nodes = nodes;
    this.#heardAt = performance.now();
    this.#watcher = setInterval(() => this.#watch(), STALLED_MS / 4);
  }

  /** @param {number} level of what is played, in dBFS */
  #hear(level) {
    this.levels.speaker = level;
    this.#heardAt = performance.now();
    if (this.stalled) {
      this.stalled = false;
      this.#changed();
    }
  }

  /** @param {number} level of the microphone, in dBFS */
  #hearMicrophone(level) {
    if (this.microphone !== "on") return;
    this.levels.microphone = level;
    if (level > SWITCHED_OFF_DBFS) this.#mutesSince = null;
    const silent = this.#mutesSince !== null && performance.now() - this.#mutesSince > SILENT_MS;
    if (silent === this.silent) return;
    this.silent = silent;
    this.#changed();
  }

  /** A context without a device says that it runs, or will, and asks for no samples. */
  #watch() {
    if (this.stalled || this.blocked || performance.now() - this.#heardAt < STALLED_MS) return;
    this.stalled = true;
    this.levels = { microphone: SILENCE_DBFS, speaker: SILENCE_DBFS };
    this.#changed();
  }

  #judge() {
    const blocked = this.#context !== null && waitsForGesture(this.#context);
    if (blocked !== this.blocked) {
      this.blocked = blocked;
      this.#heardAt = performance.now();
      this.levels = { microphone: SILENCE_DBFS, speaker: SILENCE_DBFS };
      this.#changed();
    }
  }

  /** Let the sound run; does nothing but ask as long as the browser wants a gesture first. */
  resume() {
    // Without a gesture this promise stays pending until there is one; a closed context rejects it.
    if (this.#context && this.#context.state !== "running") this.#context.resume().catch(() => {});
  }

  /** Ask for the microphone and connect it. The outcome is in `microphone`; `rate` may have changed. */
  async openMicrophone() {
    if (this.microphone === "on" || this.microphone === "asking" || !this.#context) return;
    if (!navigator.mediaDevices?.getUserMedia) {
      this.#microphoneIs("insecure");
      return;
    }
    const session = this.#session;
    this.#microphoneIs("asking");
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ audio: this.#devices.constraints });
    } catch (error) {
      if (session !== this.#session) return;
      /** @type {Record<string, string>} */
      const causes = { NotAllowedError: "denied", SecurityError: "denied", NotFoundError: "missing" };
      this.#microphoneIs(causes[error.name] ?? "failed");
      return;
    }
    if (session !== this.#session) {
      for (const track of stream.getTracks()) track.stop();
      return;
    }
    this.#stream = stream;
    stream.getTracks()[0].addEventListener("ended", () => {
      if (stream !== this.#stream) return;
      this.#closeMicrophone();
      this.#microphoneIs("missing");
    });
    await this.tune(this.#asked);
    if (stream !== this.#stream) return;
    this.#mutesSince = performance.now();
    this.#microphoneIs("on");
    // Only with the person's leave does the browser name its devices.
    this.#devices.refresh();
  }

  /** @param {string} status */
  #microphoneIs(status) {
    this.microphone = status;
    this.#changed();
  }

  /** Another microphone, or other processing, was chosen: in a call it takes over at once. */
  #changeMicrophone() {
    if (this.microphone === "off" || !this.#context) return;
    this.#session += 1;
    this.#closeMicrophone();
    this.microphone = "off";
    this.openMicrophone();
  }

  #routeSpeaker() {
    if (this.#context) this.#devices.route(this.#context, "speaker");
  }

  #closeMicrophone() {
    for (const track of this.#stream?.getTracks() ?? []) track.stop();
    this.#source?.disconnect();
    this.#stream = null;
    this.#source = null;
    this.#mutesSince = null;
    this.silent = false;
    this.levels.microphone = SILENCE_DBFS;
  }

  /** Give the microphone back and stop all sound. */
  close() {
    this.#session += 1;
    this.#closeMicrophone();
    this.microphone = "off";
    this.#closeContext();
    this.#changed();
  }

  #closeContext() {
    this.#source?.disconnect();
    this.#source = null;
    this.stalled = false;
    clearInterval(this.#watcher);
    // Ports with handlers keep their nodes, and these their context, alive.
    for (const node of Object.values(this.#nodes ?? {})) {
      node.disconnect();
      if (!(node instanceof AudioWorkletNode)) continue;
      node.port.onmessage = null;
      node.port.close();
    }
    this.#context?.removeEventListener("statechange", this.#onState);
    this.#context?.close();
    this.#context = null;
    this.#nodes = null;
    this.#frameSamples = 0;
    this.levels.speaker = SILENCE_DBFS;
    for (const capture of this.#captures.splice(0)) capture.reject(new Error("the call's sound has ended"));
    this.blocked = false;
  }

  /**
   * A connection starts: send microphone frames of `frameSamples`, and count positions from zero again.
   *
   * @param {number} frameSamples
   */
  begin(frameSamples) {
    this.#frameSamples = frameSamples;
    this.dropped = 0;
    this.#nodes?.microphone.port.postMessage({ frame: frameSamples });
    this.#nodes?.speaker.port.postMessage({ reset: true });
  }

  /** The connection is gone: no microphone frames until `begin`. */
  pause() {
    this.begin(0);
  }

  /**
   * Play a frame. While the browser holds the sound back frames go nowhere: they must not pile up.
   *
   * @param {Frame} frame
   */
  play({ position, pcm }) {
    if (this.running) this.#nodes?.speaker.port.postMessage({ position, pcm });
  }

  /** @param {boolean} muted */
  setMuted(muted) {
    if (muted === this.#muted) return;
    this.#muted = muted;
    this.#nodes?.microphone.port.postMessage({ muted });
  }

  /**
   * Set the volume of `microphone` or `speaker`: a linear gain, 1 leaves the sound as it is.
   *
   * @param {Side} side
   * @param {number} gain
   */
  setVolume(side, gain) {
    this.#volumes[side] = gain;
    const node = side === "speaker" ? this.#nodes?.speakerVolume : this.#nodes?.microphoneVolume;
    node?.gain.setTargetAtTime(gain, node.context.currentTime, 0.01);
  }

  /**
   * Record what the page plays, after the volume, for `seconds`: `{rate, samples}`.
   *
   * @param {number} seconds
   */
  capture(seconds) {
    const nodes = this.#nodes;
    if (!nodes) return Promise.reject(new Error("no call's sound is playing"));
    const wanted = Math.round(seconds * this.rate);
    return new Promise((resolve, reject) => {
      this.#captures.push({ samples: [], wanted, resolve, reject, rate: this.rate });
      if (this.#captures.length === 1) nodes.tap.port.postMessage({ capture: wanted });
    });
  }

  /** @param {Float32Array} block */
  #captured(block) {
    const capture = this.#captures[0];
    if (!capture) return;
    for (const sample of block) capture.samples.push(sample);
    if (capture.samples.length < capture.wanted) return;
    this.#captures.shift();
    capture.resolve({ rate: capture.rate, samples: capture.samples });
    if (this.#captures.length) this.#nodes?.tap.port.postMessage({ capture: this.#captures[0].wanted });
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}
