/**
 * What the letter and the envelope show (sealed.js), before that is here: it is loaded when its part of the page is opened,
 * by the first message or by hand.
 *
 *   wrote, crossed ─► the newest are kept ─► the first message opens the ledger ─► sealed.js has them, and what follows
 *
 * Records of uploads are left out: thousands of them would drive out all others. Which record carries what, the page cannot
 * know; so while a file is under way only the first few after each writing are taken.
 */

export const SHOWN_BYTES = 256;
const EARLY = 12;
const BESIDE_UPLOAD = 2;
/** An upload is over at once, its last acknowledgements are not. */
const LINGER_MS = 250;

const seal = document.getElementById("seal");
let early = []; // calls for sealed.js
let sealed; // the module, once it is there
let loading;
let isPulse = false; // what crosses now belongs to a round trip that nobody asked for
let uploads = 0;
let room; // records that are taken beside an upload, of each direction

/** Regular round trips begin and end: of their records only the newest is kept, so that they do not drive out all others. */
export function pulsing(is) {
  isPulse = is;
}

/** A file's way begins, and ends. */
export function uploading(is) {
  if (!is) {
    setTimeout(() => (uploads -= 1), LINGER_MS);
    return;
  }
  uploads += 1;
  room = { in: 0, out: 0 };
}

/** Something of the person's own is about to be sent. `text` is there when the bytes are text. */
export function wrote(where, bytes, text) {
  room = { in: BESIDE_UPLOAD, out: BESIDE_UPLOAD };
  keep("wrote", bytes, bytes.length, false, where, text);
  openLedger();
}

/** A sealed message crosses the network (the `observe` of `connect`). */
export function crossed(direction, bytes, length) {
  if (isPulse && !sealed) return;
  if (uploads === 0 || room[direction]-- > 0) keep(direction, bytes, length, isPulse);
}

/** There is a first message: the ledger opens, unless the person has folded it away before. */
export function openLedger() {
  load().then(
    (module) => module.openOnce(),
    () => {}, // it stays closed, and the next message tries again
  );
}

function keep(kind, bytes, ...more) {
  if (sealed) {
    sealed.keep(kind, bytes, Date.now(), ...more);
    return;
  }
  early.push([kind, bytes.slice(0, SHOWN_BYTES), Date.now(), ...more]);
  if (early.length > EARLY) early.shift();
}

function load() {
  loading ??= import("./sealed.js").then(
    (module) => {
      sealed = module;
      for (const call of early) sealed.keep(...call);
      early = [];
      return sealed;
    },
    (error) => {
      loading = undefined;
      throw error;
    },
  );
  return loading;
}

seal.addEventListener("toggle", () => seal.open && load().catch(() => (seal.open = false)));
