// The types of the protocol's messages (docs/protocol.md).
// Written by tools/message_types.py from spech/web/messages/. Do not edit.

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

export interface TicketOutcome {
  ticket: string;
  port: number;
}

export interface StoredRecording {
  name: string;
  bytes: number;
  at: number;
}

export interface RecordingsOutcome {
  recordings: StoredRecording[];
}

export interface CallEntry {
  id: string;
  account: string;
  line: string;
  direction: "incoming" | "outgoing";
  remote: string;
  name: string | null;
  began: number;
  answered: number | null;
  ended: number | null;
  fate: "answered" | "busy" | "cancelled" | "declined" | "elsewhere" | "failed" | "forwarded" | "lost" | "missed" | "running" | "unanswered";
  status: number | null;
  text: string;
  codec: string | null;
  mos: number | null;
  recordings: string[];
  contact?: string | null;
  unseen?: boolean;
  told?: boolean;
}

export interface HistoryOutcome {
  entries: CallEntry[];
  more: boolean;
}

export interface LabelledNumber {
  number: string;
  label: string;
}

export interface Contact {
  id: string;
  name: string;
  numbers: LabelledNumber[];
  favourite: boolean;
  note: string;
  shared: boolean;
}

export interface ContactsOutcome {
  contacts: Contact[];
  more: boolean;
}

export interface ContactOutcome {
  contact: string;
}

export interface ImportOutcome {
  added: number;
  changed: number;
}

export interface PeopleOutcome {
  people: string[];
}

export interface PasswordOutcome {
  password: string;
}

export interface AccountOutcome {
  account: string;
}

export interface TextMessage {
  id: string;
  account: string;
  remote: string;
  name: string | null;
  text: string;
  at: number;
  state: "failed" | "received" | "sending" | "sent";
  reason?: string;
  seen?: boolean;
}

export interface Chat {
  account: string;
  remote: string;
  name: string | null;
  latest: TextMessage;
  unread: number;
}

export interface ChatsOutcome {
  chats: Chat[];
}

export interface MessagesOutcome {
  messages: TextMessage[];
}

export interface TextOutcome {
  message: string;
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

export interface PersonState {
  name: string;
  administrator: boolean;
}

export interface AccountRegistration {
  state: "failed" | "registered" | "registering";
  status: number | null;
  reason: string;
}

export interface VoicemailState {
  waiting: boolean;
  new: number;
  old: number;
  number: string;
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
  auth_user: string;
  display_name: string;
  proxy: string;
  stun: string;
  country: string;
  number_format: "international" | "national" | "typed";
  prefix: string;
  voicemail: string;
  registration: AccountRegistration;
  mailbox: VoicemailState | null;
}

export interface VaultState {
  state: "damaged" | "empty" | "open";
  message: string;
}

export interface CallSettings {
  do_not_disturb?: boolean;
  call_waiting?: boolean;
  auto_answer?: boolean;
  forward?: string;
  forward_busy?: string;
  forward_unanswered?: string;
  unanswered_s?: number;
  record?: boolean;
  record_beep?: boolean;
}

export interface ChatsState {
  unread: number;
  revision: number;
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

export interface HistoryState {
  missed: number;
  revision: number;
  keep_days: number | null;
}

export interface Favourite {
  contact: string;
  name: string;
  number: string;
  lamp: "away" | "busy" | "free" | "ringing" | null;
}

export interface AddressBookState {
  url: string;
  user: string;
  read: number | null;
  problem: string;
}

export interface ContactsState {
  count: number;
  revision: number;
  favourites: Favourite[];
  book: AddressBookState | null;
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
  contact: string | null;
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
  call_settings: CallSettings;
  chats: ChatsState;
  codecs: CodecState[];
  audio: AudioState;
  grace_s: number;
  numbers: KnownNumber[];
  history: HistoryState;
  contacts: ContactsState;
  calls: CallState[];
}

export interface StateMessage {
  type: "state";
  state: PageState;
}

export interface Step {
  name: string;
  passed: boolean;
  finding: string;
  remedy?: string;
  values?: Record<string, string>;
  status?: number | null;
}

export interface StepMessage {
  type: "step";
  id: number | string;
  step: Step;
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
  microphone_late_ms: number | null;
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
  formats: ("opus" | "pcm")[];
}

export interface FormatChange {
  format: "opus" | "pcm";
}

/** The fields of each command beside `id` and `command`. */
export interface Commands {
  dial: {
    target: string;
    account?: string | null;
    confirmed?: boolean;
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
  audio_ticket: {
    call: string;
  };
  recordings: Record<string, never>;
  delete_recording: {
    name: string;
  };
  history: {
    search?: string;
    missed?: boolean;
    before?: string | null;
    limit?: number;
  };
  history_story: {
    entry: string;
  };
  see_history: Record<string, never>;
  forget_entry: {
    entry: string;
  };
  forget_history: Record<string, never>;
  keep_history: {
    days: number | null;
  };
  contacts: {
    search?: string;
    after?: string | null;
    limit?: number;
  };
  save_contact: {
    contact: Contact;
  };
  forget_contact: {
    contact: string;
  };
  import_contacts: {
    text: string;
    more?: boolean;
  };
  save_address_book: {
    url: string;
    user: string;
    password?: string | null;
  };
  read_address_book: Record<string, never>;
  forget_address_book: Record<string, never>;
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
    auth_user?: string;
    display_name?: string;
    proxy?: string;
    stun?: string;
    country?: string;
    number_format?: "international" | "national" | "typed";
    prefix?: string;
    voicemail?: string;
  };
  check_account: {
    account: string;
    echo?: string | null;
  };
  forget_account: {
    account: string;
  };
  change_call_settings: {
    changes: Record<string, string | boolean | number>;
  };
  chats: Record<string, never>;
  messages: {
    account: string;
    remote: string;
    limit?: number;
  };
  send_text: {
    account: string;
    remote: string;
    text: string;
  };
  see_chat: {
    account: string;
    remote: string;
  };
  forget_chat: {
    account: string;
    remote: string;
  };
  quality_history: {
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
  transfer: Nothing;
  connect: Nothing;
  follow: FollowOutcome;
  timeline: TimelineOutcome;
  audio_ticket: TicketOutcome;
  recordings: RecordingsOutcome;
  delete_recording: Nothing;
  history: HistoryOutcome;
  history_story: TimelineOutcome;
  see_history: Nothing;
  forget_entry: Nothing;
  forget_history: Nothing;
  keep_history: Nothing;
  contacts: ContactsOutcome;
  save_contact: ContactOutcome;
  forget_contact: Nothing;
  import_contacts: ImportOutcome;
  save_address_book: ImportOutcome;
  read_address_book: ImportOutcome;
  forget_address_book: Nothing;
  people: PeopleOutcome;
  add_person: PasswordOutcome;
  reset_person: PasswordOutcome;
  remove_person: Nothing;
  save_account: AccountOutcome;
  check_account: Nothing;
  forget_account: Nothing;
  change_call_settings: Nothing;
  chats: ChatsOutcome;
  messages: MessagesOutcome;
  send_text: TextOutcome;
  see_chat: Nothing;
  forget_chat: Nothing;
  quality_history: QualityOutcome;
}

export interface Done {
  id: string | number;
  ok: Outcomes[keyof Outcomes];
}

export type ServerMessage = StateMessage | StepMessage | MetersMessage | QualityMessage | Failed | Done;
