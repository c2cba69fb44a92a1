// @ts-check
/**
 * The microphone side: collects the blocks of the audio thread into frames of int16 PCM.
 *
 * In:  {frame: samples} starts the frames (0 stops them), {muted: boolean}.
 * Out: {frame: ArrayBuffer} with 12 bytes left free for the header, {level: dBFS} about 15 times a second.
 * The level is measured before muting, so that the meter shows speech into a muted phone.
 */

const HEADER_BYTES = 12;
const SILENCE_DBFS = -100;

class Microphone extends AudioWorkletProcessor {
  #samples = 0;
  #buffer = new ArrayBuffer(0);
  #pcm = new Int16Array(0);
  #filled = 0;
  #muted = false;
  #gain = 1;
  #squares = 0;
  #measured = 0;

  constructor() {
    super();
    this.port.onmessage = ({ data }) => {
      if ("muted" in data) this.#muted = data.muted;
      if ("frame" in data) this.#begin(data.frame);
    };
  }

  /** @param {number} samples */
  #begin(samples) {
    this.#samples = samples;
    this.#filled = 0;
    this.#buffer = new ArrayBuffer(HEADER_BYTES + 2 * samples);
    this.#pcm = new Int16Array(this.#buffer, HEADER_BYTES);
  }

  /** @param {Float32Array} block */
  #measure(block) {
    for (const sample of block) this.#squares += sample * sample;
    this.#measured += block.length;
    if (this.#measured < sampleRate / 15) return;
    const level = 10 * Math.log10(this.#squares / this.#measured);
    this.port.postMessage({ level: Math.max(SILENCE_DBFS, level) });
    this.#squares = 0;
    this.#measured = 0;
  }

  /** @param {Float32Array[][]} inputs */
  process(inputs) {
    const block = inputs[0][0];
    if (!block) return true;
    this.#measure(block);
    if (this.#samples === 0) return true;
    const target = this.#muted ? 0 : 1;
    // Muting takes one block instead of one sample: no click.
    const step = (target - this.#gain) / block.length;
    for (let index = 0; index < block.length; index += 1) {
      this.#gain += step;
      const sample = block[index] * this.#gain * 32768;
      this.#pcm[this.#filled] = Math.max(-32768, Math.min(32767, Math.round(sample)));
      this.#filled += 1;
      if (this.#filled === this.#samples) {
        const frame = this.#buffer;
        this.#begin(this.#samples);
        this.port.postMessage({ frame }, [frame]);
      }
    }
    this.#gain = target;
    return true;
  }
}

registerProcessor("spech-microphone", Microphone);

export {};
