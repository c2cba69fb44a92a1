// What the checker cannot see: our elements by their names, the worklets' surroundings, and `window.spech`.

import type { Banner } from "./parts/banner.js";
import type { CallView } from "./parts/call.js";
import type { ChatsView } from "./parts/chats.js";
import type { Connection, Mark } from "./parts/connection.js";
import type { ContactsView } from "./parts/contacts.js";
import type { DevicesPanel } from "./parts/devices.js";
import type { Dialer } from "./parts/dialer.js";
import type { Favourites } from "./parts/favourites.js";
import type { HistoryView } from "./parts/history.js";
import type { Incoming } from "./parts/incoming.js";
import type { Keypad } from "./parts/keypad.js";
import type { Lines } from "./parts/lines.js";
import type { Members } from "./parts/members.js";
import type { Navigation } from "./parts/navigation.js";
import type { Notices } from "./parts/notices.js";
import type { Numbers } from "./parts/numbers.js";
import type { Recent } from "./parts/recent.js";
import type { Recordings } from "./parts/recordings.js";
import type { Registration } from "./parts/registration.js";
import type { Settings } from "./parts/settings.js";
import type { SoundPanel } from "./parts/sound.js";
import type { Story } from "./parts/story.js";
import type { TransferPanel } from "./parts/transfer.js";
import type { Voicemail } from "./parts/voicemail.js";
import type { Welcome } from "./parts/welcome.js";
import type { PageState } from "./messages.js";

declare global {
  interface HTMLElementTagNameMap {
    "spech-banner": Banner;
    "spech-call": CallView;
    "spech-chats": ChatsView;
    "spech-connection": Connection;
    "spech-contacts": ContactsView;
    "spech-devices": DevicesPanel;
    "spech-dialer": Dialer;
    "spech-favourites": Favourites;
    "spech-history": HistoryView;
    "spech-incoming": Incoming;
    "spech-keypad": Keypad;
    "spech-lines": Lines;
    "spech-mark": Mark;
    "spech-members": Members;
    "spech-navigation": Navigation;
    "spech-notices": Notices;
    "spech-numbers": Numbers;
    "spech-recent": Recent;
    "spech-recordings": Recordings;
    "spech-registration": Registration;
    "spech-settings": Settings;
    "spech-sound": SoundPanel;
    "spech-story": Story;
    "spech-transfer": TransferPanel;
    "spech-voicemail": Voicemail;
    "spech-welcome": Welcome;
  }

  // WebHID, as far as it is used
  interface HIDReportItem {
    usages?: number[];
    usageMinimum: number;
    isRange: boolean;
    isArray: boolean;
    isConstant: boolean;
    reportSize: number;
    reportCount: number;
  }
  interface HIDReportInfo {
    reportId: number;
    items: HIDReportItem[];
  }
  interface HIDCollectionInfo {
    usagePage: number;
    inputReports: HIDReportInfo[];
    outputReports: HIDReportInfo[];
  }
  interface HIDInputReportEvent extends Event {
    reportId: number;
    data: DataView;
  }
  interface HIDDevice {
    opened: boolean;
    productName: string;
    collections: HIDCollectionInfo[];
    open(): Promise<void>;
    sendReport(reportId: number, data: BufferSource): Promise<void>;
    addEventListener(type: "inputreport", listener: (event: HIDInputReportEvent) => void): void;
    removeEventListener(type: "inputreport", listener: (event: HIDInputReportEvent) => void): void;
  }
  interface Navigator {
    hid: {
      getDevices(): Promise<HIDDevice[]>;
      requestDevice(options: { filters: { usagePage: number }[] }): Promise<HIDDevice[]>;
      addEventListener(
        type: "connect" | "disconnect",
        listener: (event: Event & { device: HIDDevice }) => void,
      ): void;
    };
  }

  // Autoplay Policy Detection
  interface Navigator {
    getAutoplayPolicy?(context: AudioContext): "allowed" | "allowed-muted" | "disallowed";
  }

  // Audio Output Devices API
  interface AudioContext {
    readonly sinkId: string;
    setSinkId(id: string): Promise<void>;
  }

  interface Window {
    spech: {
      readonly state: PageState | null;
      speakerLevel(): number;
      capture(seconds: number): Promise<{ rate: number; samples: number[] }>;
    };
  }

  // AudioWorkletGlobalScope
  const sampleRate: number;
  function registerProcessor(name: string, processor: new () => AudioWorkletProcessor): void;
  class AudioWorkletProcessor {
    readonly port: MessagePort;
    process(inputs: Float32Array[][], outputs: Float32Array[][]): boolean;
  }
}
