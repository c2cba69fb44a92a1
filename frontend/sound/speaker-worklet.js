// @ts-check
/**
 * The speaker side: a small ring that turns frames from the network into an even stream.
 *
 * `spech-speaker` starts playing when TARGET is there. The drift between the server's clock and the
 * sound card's is followed: while the ring is on average too full or too empty, it is read by 0.2 %
 * faster or slower, three cents, interpolated between the samples; else the samples are untouched.
 * Above MOST the oldest samples go, so that a backlog never becomes latency; during pauses,
 * blocks above EASY are skipped. A gap in the positions becomes silence, less the silence that was
 * already played while the ring was dry.
 *
 * In:  {position, pcm: Int16Array}, {reset: true} when a new connection starts to count again.
 * Out: {dropped: samples thrown away since the last reset} when that changes.
 *
 * `spech-tap` passes the sound on after the volume, measures it, and copies it on demand.
 * In:  {capture: samples}. Out: {level: dBFS} about 15 times a second, {block: Float32Array}.
 */

const TARGET_S = 0.06;
const EASY_S = 0.11;
const MOST_S = 0.2;
const QUIET = 0.003;
// How full the ring should be on average: the target, less half a frame.
const LEVEL_S = 0.05;
const TOLERANCE_S = 0.015;
const AVERAGED_S = 2;
const FASTER = 0.002;
const SILENCE_DBFS = -100;
// What the last sample fades with when the ring runs dry: to nothing in a few milliseconds.
const FADE = 0.96;

class Speaker extends AudioWorkletProcessor {
  #target = Math.round(sampleRate * TARGET_S);
  #easy = Math.round(sampleRate * EASY_S);
  #most = Math.round(sampleRate * MOST_S);
  #ring = new Float32Array(2 * this.#most);
  #read = 0;
  #filled = 0;
  /** @type {number | null} */
  #expected = null;
  #playing = false;
  #starved = 0;
  #last = 0;
  #dropped = 0;
  #level = 0;
  #correction = 0;
  // How far between two samples the next one to be played lies.
  #fraction = 0;

  constructor() {
    super();
    this.port.onmessage = ({ data }) => {
      if (data.reset) this.#reset();
      else this.#receive(data.position, data.pcm);
    };
  }

  #reset() {
    this.#filled = 0;
    this.#expected = null;
    this.#playing = false;
    this.#starved = 0;
    this.#dropped = 0;
    this.#correction = 0;
    this.#fraction = 0;
  }

  /**
   * @param {number} position
   * @param {Int16Array} pcm
   */
  #receive(position, pcm) {
    if (this.#expected !== null) {
      if (position < this.#expected) return;
      const gap = position - this.#expected - this.#starved;
      if (gap > 0) this.#silence(Math.min(gap, this.#most));
    }
    this.#starved = 0;
    this.#expected = position + pcm.length;
    this.#makeRoom(pcm.length);
    let write = (this.#read + this.#filled) % this.#ring.length;
    for (const sample of pcm) {
      this.#ring[write] = sample / 32768;
      write = write + 1 === this.#ring.length ? 0 : write + 1;
    }
    this.#filled += pcm.length;
  }

  /** @param {number} samples */
  #silence(samples) {
    this.#makeRoom(samples);
    for (let index = 0; index < samples; index += 1) {
      this.#ring[(this.#read + this.#filled + index) % this.#ring.length] = 0;
    }
    this.#filled += samples;
  }

  /** @param {number} samples */
  #makeRoom(samples) {
    if (this.#filled + samples <= this.#most) return;
    this.#skip(Math.max(0, Math.min(this.#filled, this.#filled + samples - this.#target)));
    this.port.postMessage({ dropped: this.#dropped });
  }

  /** @param {number} samples */
  #skip(samples) {
    this.#read = (this.#read + samples) % this.#ring.length;
    this.#filled -= samples;
    this.#dropped += samples;
  }

  /** @param {number} samples */
  #quiet(samples) {
    for (let index = 0; index < samples; index += 1) {
      if (Math.abs(this.#ring[(this.#read + index) % this.#ring.length]) > QUIET) return false;
    }
    return true;
  }

  /** @param {number} samples */
  #speed(samples) {
    this.#level += ((this.#filled - this.#level) * samples) / (sampleRate * AVERAGED_S);
    const excess = this.#level - sampleRate * LEVEL_S;
    if (Math.abs(excess) > sampleRate * TOLERANCE_S) this.#correction = Math.sign(excess);
    else if (excess * this.#correction <= 0) this.#correction = 0;
    if (this.#correction !== 0) return 1 + this.#correction * FASTER;
    // Back onto a whole sample, from where on nothing is interpolated any more.
    return this.#fraction === 0 ? 1 : 1 + FASTER;
  }

  /** @param {number} offset */
  #at(offset) {
    return this.#ring[(this.#read + offset + this.#ring.length) % this.#ring.length];
  }

  // Fill the block as far as the ring goes; the curve through four samples is Catmull and Rom's.
  /** @param {Float32Array} block */
  #play(block) {
    let speed = this.#speed(block.length);
    let count = 0;
    while (count < block.length && this.#filled > (speed === 1 ? 0 : 2)) {
      const here = this.#at(0);
      block[count] = here;
      if (this.#fraction > 0) {
        const [before, next, after] = [this.#at(-1), this.#at(1), this.#at(2)];
        const t = this.#fraction;
        const slope = next - before;
        const bend = 2 * before - 5 * here + 4 * next - after;
        const twist = 3 * (here - next) + after - before;
        block[count] = here + 0.5 * t * (slope + t * (bend + t * twist));
      }
      count += 1;
      this.#fraction += speed;
      while (this.#fraction >= 1 && this.#filled > 0) {
        this.#fraction -= 1;
        this.#read = (this.#read + 1) % this.#ring.length;
        this.#filled -= 1;
        if (this.#correction === 0 && speed !== 1) {
          this.#fraction = 0;
          speed = 1;
        }
      }
    }
    return count;
  }

  /**
   * @param {Float32Array[][]} _inputs
   * @param {Float32Array[][]} outputs
   */
  process(_inputs, outputs) {
    const block = outputs[0][0];
    if (!this.#playing && this.#filled >= this.#target) {
      this.#playing = true;
      this.#level = sampleRate * LEVEL_S;
    }
    if (this.#playing && this.#filled > this.#easy && this.#quiet(block.length)) {
      this.#read = (this.#read + block.length) % this.#ring.length;
      this.#filled -= block.length;
    }
    const count = this.#playing ? this.#play(block) : 0;
    if (count > 0) this.#last = block[count - 1];
    for (let index = count; index < block.length; index += 1) {
      this.#last *= FADE;
      block[index] = this.#last;
    }
    if (count < block.length) {
      this.#playing = false;
      this.#starved += block.length - count;
    }
    return true;
  }
}

class Tap extends AudioWorkletProcessor {
  #squares = 0;
  #measured = 0;
  #wanted = 0;

  constructor() {
    super();
    this.port.onmessage = ({ data }) => {
      this.#wanted = data.capture;
    };
  }

  /**
   * @param {Float32Array[][]} inputs
   * @param {Float32Array[][]} outputs
   */
  process(inputs, outputs) {
    const output = outputs[0][0];
    const input = inputs[0][0];
    if (input) output.set(input);
    for (const sample of output) this.#squares += sample * sample;
    this.#measured += output.length;
    if (this.#measured >= sampleRate / 15) {
      const level = 10 * Math.log10(this.#squares / this.#measured);
      this.port.postMessage({ level: Math.max(SILENCE_DBFS, level) });
      this.#squares = 0;
      this.#measured = 0;
    }
    if (this.#wanted > 0) {
      const block = output.slice(0, Math.min(this.#wanted, output.length));
      this.#wanted -= block.length;
      this.port.postMessage({ block }, [block.buffer]);
    }
    return true;
  }
}

registerProcessor("spech-speaker", Speaker);
registerProcessor("spech-tap", Tap);

export {};
