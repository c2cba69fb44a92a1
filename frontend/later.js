// @ts-check
/** The views that nobody sees at first, which load once the others are shown. */

import "./parts/chats.js";
import "./parts/contacts.js";
import "./parts/history.js";
import "./parts/settings.js";
import "./parts/story.js";
