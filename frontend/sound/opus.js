// @ts-check
/**
 * Opus by WebCodecs, for frames of 20 ms: an encoder and a decoder for one audio connection. The browser
 * works in other threads, so what goes in comes out a moment later, in order.
 */

import { HEADER_BYTES } from "./frame.js";

const BITRATE = 24000;
const MICROSECONDS = 1e6;
/** For speech in frames of 20 ms. Not all of it is known to each browser. */
const SETTINGS = { application: "voip", complexity: 5, frameDuration: 20000, signal: "voice" };

/** @param {number} rate in Hz */
const decoding = (rate) => ({ codec: "opus", sampleRate: rate, numberOfChannels: 1 });

/**
 * @param {number} rate in Hz
 * @returns {AudioEncoderConfig}
 */
const encoding = (rate) => ({
  ...decoding(rate),
  bitrate: BITRATE,
  opus: SETTINGS,
});

/**
 * Whether this browser can encode and decode sound at `rate` Hz.
 *
 * @param {number} rate
 */
export async function opusPossible(rate) {
  if (!("AudioEncoder" in window && "AudioDecoder" in window)) return false;
  try {
    const answers = await Promise.all([
      AudioEncoder.isConfigSupported(encoding(rate)),
      AudioDecoder.isConfigSupported(decoding(rate)),
    ]);
    return answers.every(({ supported }) => supported);
  } catch {
    return false; // It does not know the settings.
  }
}

export class Opus {
  /** Frames that are being encoded. */
  encoding = 0;

  #rate;
  #encoder;
  #decoder;
  #encoded = 0;
  /** @type {number[]} Positions of the packets that are being decoded. */
  #decoding = [];

  /**
   * @param {number} rate in Hz
   * @param {object} on
   * @param {(frame: ArrayBuffer) => void} on.packet called with each encoded frame, 12 free bytes in front
   * @param {(position: number, pcm: Int16Array) => void} on.pcm called with each decoded frame
   * @param {() => void} on.failure called when the browser fails; nothing works any more then
   */
  constructor(rate, { packet, pcm, failure }) {
    this.#rate = rate;
    this.#encoder = new AudioEncoder({
      output: (chunk) => {
        this.encoding -= 1;
        const frame = new ArrayBuffer(HEADER_BYTES + chunk.byteLength);
        chunk.copyTo(new Uint8Array(frame, HEADER_BYTES));
        packet(frame);
      },
      error: failure,
    });
    this.#encoder.configure(encoding(rate));
    this.#decoder = new AudioDecoder({
      output: (data) => {
        const position = this.#decoding.shift();
        if (position !== undefined) pcm(position, this.#samplesOf(data));
        data.close();
      },
      error: failure,
    });
    this.#decoder.configure(decoding(rate));
  }

  /**
   * Encode a microphone frame whose first 12 bytes are free for the header.
   *
   * @param {ArrayBuffer} frame
   */
  encode(frame) {
    if (this.#encoder.state !== "configured") return;
    const pcm = new Int16Array(frame, HEADER_BYTES);
    const data = new AudioData({
      format: "s16",
      sampleRate: this.#rate,
      numberOfFrames: pcm.length,
      numberOfChannels: 1,
      timestamp: Math.round((this.#encoded / this.#rate) * MICROSECONDS),
      data: pcm,
    });
    this.#encoded += pcm.length;
    this.encoding += 1;
    this.#encoder.encode(data);
    data.close();
  }

  /**
   * @param {number} position of its first sample
   * @param {Uint8Array<ArrayBuffer>} packet
   */
  decode(position, packet) {
    if (this.#decoder.state !== "configured") return;
    const timestamp = Math.round((position / this.#rate) * MICROSECONDS);
    this.#decoding.push(position);
    this.#decoder.decode(new EncodedAudioChunk({ type: "key", timestamp, data: packet }));
  }

  close() {
    for (const codec of [this.#encoder, this.#decoder]) if (codec.state !== "closed") codec.close();
  }

  /**
   * The samples at our rate. Browsers decode Opus to 48 kHz; what was encoded at a lower rate has nothing above
   * half of it, so that every second, third or sixth sample holds it all.
   *
   * @param {AudioData} data
   */
  #samplesOf(data) {
    const decoded = new Float32Array(data.numberOfFrames);
    data.copyTo(decoded, { planeIndex: 0, format: "f32-planar" });
    const step = data.sampleRate / this.#rate;
    const pcm = new Int16Array(Math.floor(decoded.length / step));
    for (let index = 0; index < pcm.length; index += 1) {
      const sample = Math.round(decoded[Math.floor(index * step)] * 32768);
      pcm[index] = Math.max(-32768, Math.min(32767, sample));
    }
    return pcm;
  }
}
