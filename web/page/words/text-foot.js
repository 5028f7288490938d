/**
 * The words of text.js at the foot of the page, loaded with foot.js. [English, French].
 */

export const FOOT_WORDS = {
  "foot.title": ["What this line does, and what it does not", "Ce que fait cette ligne, et ce qu’elle ne fait pas"],
  "foot.does": ["It protects against", "Elle protège contre"],
  "foot.does-read": [
    "anyone on the way who reads, changes, replays or forges what you and the server say, even where TLS ends at a CDN or a proxy;",
    "quiconque, en chemin, voudrait lire, modifier, rejouer ou forger ce que vous et le serveur vous dites, même là où TLS s’arrête à un CDN ou un proxy ;",
  ],
  "foot.does-later": [
    "anyone who records it today to open it later with a quantum computer (X25519 and ML-KEM-768 together).",
    "quiconque l’enregistre aujourd’hui pour l’ouvrir plus tard avec un ordinateur quantique (X25519 et ML-KEM-768 réunis).",
  ],
  "foot.not": ["It does not protect against", "Elle ne protège pas contre"],
  "foot.not-code": [
    "a changed page: this page’s own code is delivered by the server or its CDN, and whoever can change that code can read along (see the README);",
    "une page modifiée : le code de cette page est livré par le serveur ou son CDN, et qui peut changer ce code peut lire avec vous (voir le README) ;",
  ],
  "foot.not-ends": [
    "the two ends themselves: an intruder in your device or in the server, or its owner;",
    "les deux bouts eux-mêmes : un intrus dans votre appareil ou dans le serveur, ou son propriétaire ;",
  ],
  "foot.not-traffic": [
    "seeing that you talk: your address, when, how often and roughly how much.",
    "le fait de voir que vous parlez : votre adresse, quand, combien de fois et à peu près combien.",
  ],
};
