// The types of the protocol's messages (docs/protocol.md).
// Written by tools/message_types.py from spech/web/messages.py. Do not edit.

export interface CallOutcome {
  call: string;
}

export type Nothing = Record<string, never>;

export interface ConferenceOutcome {
  conference: string;
}

export interface RecordingOutcome {
  recording: string;
}

export interface StoredRecording {
  name: string;
  bytes: number;
  at: number;
}

export interface RecordingsOutcome {
  recordings: StoredRecording[];
}

export interface PeopleOutcome {
  people: string[];
}

export interface PasswordOutcome {
  password: string;
}

export interface FollowOutcome {
  call?: string;
}

export interface TimelineStep {
  kind: "note" | "received" | "sent";
  at: number;
  host: string;
  title: string;
  meaning: string;
  message: string;
}

export interface TimelineOutcome {
  steps: TimelineStep[];
}

export interface QualitySample {
  at: number;
  loss_percent: number;
  concealed_percent: number;
  jitter_ms: number;
  buffer_ms: number;
  round_trip_ms: number | null;
  mos: number | null;
  remote_loss_percent: number | null;
}

export interface QualityOutcome {
  samples: QualitySample[];
}

export interface AccountOutcome {
  account: string;
}

export interface TicketOutcome {
  ticket: string;
  port: number;
}

export interface PersonState {
  name: string;
  administrator: boolean;
}

export interface AccountRegistration {
  state: "failed" | "registered" | "registering";
  status: number | null;
  reason: string;
}

export interface AccountState {
  id: string;
  name: string;
  server: string;
  port: number | null;
  transport: string;
  user: string;
  codecs: string[];
  encryption: "dtls" | "off" | "optional" | "required" | "sdes";
  registration: AccountRegistration;
}

export interface VaultState {
  state: "damaged" | "empty" | "open";
  message: string;
}

export interface CodecState {
  name: string;
  rate: number;
  bitrate: number;
  available: boolean;
  package: string;
  suggested: boolean;
}

export interface AudioState {
  port: number;
  rate: number;
}

export interface KnownNumber {
  number: string;
  title: string;
}

export interface ConferenceState {
  id: string;
  gain: number;
  muted: boolean;
}

export interface RecordingState {
  name: string;
  paused: boolean;
  error: string;
}

export interface TransferState {
  target: string;
  status: number;
  text: string;
  over: boolean;
}

export interface ReferralState {
  target: string;
}

export interface Ended {
  by: "local" | "remote";
  status: number | null;
  text: string;
  elsewhere?: boolean;
}

export interface CallState {
  id: string;
  account: string;
  direction: "incoming" | "outgoing";
  remote: string;
  display_name: string | null;
  state: "answered" | "early" | "ringing" | "trying" | "ended";
  status: number | null;
  reason: string;
  codec: string | null;
  encrypted: string | null;
  muted: boolean;
  on_hold: boolean;
  held: boolean;
  no_sound: boolean;
  conference: ConferenceState | null;
  recording: RecordingState | null;
  transfer: TransferState | null;
  referral: ReferralState | null;
  answered_s: number | null;
  audio_attached: boolean;
  digits_received: string;
  ended: Ended | null;
}

export interface PageState {
  version: string;
  person: PersonState;
  accounts: AccountState[];
  vault: VaultState;
  codecs: CodecState[];
  audio: AudioState;
  grace_s: number;
  numbers: KnownNumber[];
  calls: CallState[];
}

export interface StateMessage {
  type: "state";
  state: PageState;
}

export interface Meters {
  microphone: number;
  speaker: number;
  microphone_peak: number;
  speaker_peak: number;
  dropped: number;
  lost: number;
  jitter_ms: number;
}

export interface MetersMessage {
  type: "meters";
  calls: Record<string, Meters>;
}

export interface PageLeg {
  microphone_loss_percent: number;
  speaker_loss_percent: number;
  round_trip_ms: number | null;
}

export interface Quality {
  codec: string | null;
  loss_percent: number;
  total_loss_percent: number;
  concealed_percent: number;
  jitter_ms: number;
  buffer_ms: number;
  round_trip_ms: number | null;
  one_way_ms: number;
  mos: number | null;
  mos_listening: number | null;
  mos_worst: number | null;
  mos_mean: number | null;
  remote_loss_percent: number | null;
  remote_jitter_ms: number | null;
  remote_mos: number | null;
  page: PageLeg;
  trouble: "both" | "line" | "page" | null;
}

export interface QualityMessage {
  type: "quality";
  calls: Record<string, Quality>;
}

export interface Fault {
  code: string;
  message: string;
  hint: string;
}

export interface Failed {
  id: number | string | null;
  error: Fault;
}

export interface Hello {
  ticket: string;
  rate: number;
}

export interface Welcome {
  call: string;
  rate: number;
  frame_samples: number;
}

/** The fields of each command beside `id` and `command`. */
export interface Commands {
  dial: {
    target: string;
    account?: string | null;
  };
  answer: {
    call: string;
  };
  decline: {
    call: string;
  };
  hang_up: {
    call: string;
  };
  dismiss: {
    call: string;
  };
  dtmf: {
    call: string;
    digits: string;
  };
  press: {
    call: string;
    digit: string;
  };
  release: {
    call: string;
    digit: string;
  };
  mute: {
    call: string;
    muted: boolean;
  };
  hold: {
    call: string;
    held: boolean;
  };
  merge: {
    calls: string[];
  };
  split: {
    call: string;
  };
  member: {
    call: string;
    gain: number;
    muted: boolean;
  };
  record: {
    call: string;
    format?: "opus" | "wav";
    stereo?: boolean;
  };
  pause_record: {
    call: string;
    paused: boolean;
  };
  stop_record: {
    call: string;
  };
  recordings: Record<string, never>;
  delete_recording: {
    name: string;
  };
  people: Record<string, never>;
  add_person: {
    name: string;
  };
  reset_person: {
    name: string;
  };
  remove_person: {
    name: string;
  };
  transfer: {
    call: string;
    target: string;
  };
  connect: {
    call: string;
    other: string;
  };
  follow: {
    call: string;
    accepted: boolean;
  };
  timeline: {
    call: string;
  };
  quality_history: {
    call: string;
  };
  save_account: {
    server: string;
    port: number | null;
    transport: string;
    user: string;
    password: string | null;
    codecs: string[];
    encryption?: "dtls" | "off" | "optional" | "required" | "sdes";
    account?: string | null;
    name?: string;
  };
  forget_account: {
    account: string;
  };
  audio_ticket: {
    call: string;
  };
}

/** The `ok` of the answer to each command. */
export interface Outcomes {
  dial: CallOutcome;
  answer: Nothing;
  decline: Nothing;
  hang_up: Nothing;
  dismiss: Nothing;
  dtmf: Nothing;
  press: Nothing;
  release: Nothing;
  mute: Nothing;
  hold: Nothing;
  merge: ConferenceOutcome;
  split: Nothing;
  member: Nothing;
  record: RecordingOutcome;
  pause_record: Nothing;
  stop_record: Nothing;
  recordings: RecordingsOutcome;
  delete_recording: Nothing;
  people: PeopleOutcome;
  add_person: PasswordOutcome;
  reset_person: PasswordOutcome;
  remove_person: Nothing;
  transfer: Nothing;
  connect: Nothing;
  follow: FollowOutcome;
  timeline: TimelineOutcome;
  quality_history: QualityOutcome;
  save_account: AccountOutcome;
  forget_account: Nothing;
  audio_ticket: TicketOutcome;
}

export interface Done {
  id: string | number;
  ok: Outcomes[keyof Outcomes];
}

export type ServerMessage = StateMessage | MetersMessage | QualityMessage | Failed | Done;
