/**
 * Every word of the page, English and French side by side: [English, French].
 *
 * No DOM here: say.js puts these words on the page, text.test.mjs proves that none is missing.
 * `{name}` is a value, `backticks` are set as code. French spaces before : ; ? ! and inside « » are made
 * non-breaking below, so that they can be typed as ordinary ones.
 */

const WORDS = {
  "page.title": ["Duologue: a private line", "Duologue : une ligne privée"],
  "page.tagline": ["a line between two", "une ligne à deux"],
  "page.language": ["Language", "Langue"],
  "page.skip": ["Skip to the conversation", "Aller à la conversation"],

  "line.you": ["You, in this browser", "Vous, dans ce navigateur"],
  "line.between": ["on the way: sealed records only", "en chemin : rien que du scellé"],

  "state.connecting": ["Opening the line…", "Ouverture de la ligne…"],
  "state.open": ["The line is open", "La ligne est ouverte"],
  "state.resuming": ["Picking the line up again…", "Reprise de la ligne…"],
  "state.draining": ["The line is about to close", "La ligne va se fermer"],
  "state.closed": ["The line is closed", "La ligne est fermée"],
  "detail.connecting": ["Agreeing on fresh keys with {host}.", "De nouvelles clés se négocient avec {host}."],
  "detail.open": [
    "Sealed here, opened at {host}, and nowhere in between.",
    "Scellé ici, ouvert chez {host}, et nulle part entre les deux.",
  ],
  "detail.resuming": [
    "The connection was interrupted. What you send waits its turn.",
    "La connexion a été interrompue. Ce que vous envoyez attend son tour.",
  ],
  "detail.draining": [
    "The server is stopping. What is under way is still being delivered.",
    "Le serveur s’arrête. Ce qui est en route est encore remis.",
  ],
  "detail.closed": ["Nothing passes until it is opened again.", "Rien ne passe tant qu’elle n’est pas rouverte."],

  // Why a line ended (`cause.<code>`) and what to do about it (`do.<code>`).
  "cause.no-identity": [
    "This browser has no key for this server: it was never enrolled, or its stored key was lost or cleared.",
    "Ce navigateur n’a pas de clé pour ce serveur : il n’a jamais été inscrit, ou sa clé enregistrée a été perdue ou effacée.",
  ],
  "do.no-identity": [
    "Ask the server’s owner for a new invite link, made by `duologue invite new`, and open it in this browser.",
    "Demandez au propriétaire du serveur un nouveau lien d’invitation, créé par `duologue invite new`, et ouvrez-le dans ce navigateur.",
  ],
  "cause.identity-lost": [
    "This browser still knows the server, but its own device key is gone.",
    "Ce navigateur connaît encore le serveur, mais sa propre clé d’appareil a disparu.",
  ],
  "do.identity-lost": [
    "Ask the server’s owner for a new invite link, made by `duologue invite new`, and open it here. The server’s key stays pinned.",
    "Demandez au propriétaire du serveur un nouveau lien d’invitation, créé par `duologue invite new`, et ouvrez-le ici. La clé du serveur reste épinglée.",
  ],
  "cause.bad-invite": ["This invite link is damaged or incomplete.", "Ce lien d’invitation est abîmé ou incomplet."],
  "do.bad-invite": [
    "Copy the whole link again, up to its last character, and open it here.",
    "Copiez de nouveau le lien entier, jusqu’à son dernier caractère, et ouvrez-le ici.",
  ],
  "cause.invite-used": [
    "This invite was already used by another device: each one admits a single device, once.",
    "Cette invitation a déjà servi à un autre appareil : chacune n’en admet qu’un seul, une seule fois.",
  ],
  "do.invite-used": [
    "Ask the server’s owner for a new one (`duologue invite new`). If you did not use this one yourself, tell the owner: someone else did.",
    "Demandez-en une nouvelle au propriétaire du serveur (`duologue invite new`). Si ce n’est pas vous qui l’avez utilisée, prévenez-le : quelqu’un d’autre l’a fait.",
  ],
  "cause.invite-expired": ["This invite has expired.", "Cette invitation a expiré."],
  "do.invite-expired": [
    "Ask the server’s owner for a new one (`duologue invite new`).",
    "Demandez-en une nouvelle au propriétaire du serveur (`duologue invite new`).",
  ],
  "cause.invite-unknown": ["The server does not know this invite.", "Le serveur ne connaît pas cette invitation."],
  "do.invite-unknown": [
    "Check that the link is meant for this server, or ask its owner for a new one (`duologue invite new`).",
    "Vérifiez que le lien est bien destiné à ce serveur, ou demandez-en un nouveau à son propriétaire (`duologue invite new`).",
  ],
  "cause.not-enrolled": [
    "The server does not know this device.",
    "Le serveur ne connaît pas cet appareil.",
  ],
  "do.not-enrolled": [
    "Ask the server’s owner for an invite link (`duologue invite new`) and open it here.",
    "Demandez au propriétaire du serveur un lien d’invitation (`duologue invite new`) et ouvrez-le ici.",
  ],
  "cause.device-revoked": [
    "The server’s owner has revoked this device.",
    "Le propriétaire du serveur a révoqué cet appareil.",
  ],
  "do.device-revoked": [
    "If that is a mistake, ask the owner. To be enrolled anew, forget this device here and open a new invite link.",
    "S’il s’agit d’une erreur, voyez avec le propriétaire. Pour être inscrit de nouveau, oubliez cet appareil ici et ouvrez un nouveau lien d’invitation.",
  ],
  "cause.origin-refused": [
    "The server does not accept pages from this address.",
    "Le serveur n’accepte pas les pages venant de cette adresse.",
  ],
  "do.origin-refused": [
    "Open the page at the address that the server’s owner gave you. The owner can add {origin} to the origins that `duologue serve` allows.",
    "Ouvrez la page à l’adresse que le propriétaire du serveur vous a donnée. Celui-ci peut ajouter {origin} aux origines que `duologue serve` autorise.",
  ],
  "cause.host-mismatch": [
    "This page and the server do not agree on the server’s address.",
    "La page et le serveur ne s’accordent pas sur l’adresse du serveur.",
  ],
  "do.host-mismatch": [
    "Something on the way passes the line on under another name. Use the address that the server’s owner gave you.",
    "Quelque chose en chemin transmet la ligne sous un autre nom. Utilisez l’adresse que le propriétaire du serveur vous a donnée.",
  ],
  "cause.not-your-server": [
    "The answer was not made by the server that this browser has pinned, or it was altered on the way.",
    "La réponse ne vient pas du serveur que ce navigateur a épinglé, ou elle a été altérée en chemin.",
  ],
  "do.not-your-server": [
    "Nothing of yours was sent. Try another network; if it stays so, ask the server’s owner, by another way than this page.",
    "Rien de ce que vous avez écrit n’est parti. Essayez un autre réseau ; si cela persiste, interrogez le propriétaire du serveur par un autre moyen que cette page.",
  ],
  "cause.altered": [
    "A message was changed on the way: something between you and the server is tampering with the line.",
    "Un message a été modifié en chemin : quelque chose, entre vous et le serveur, altère la ligne.",
  ],
  "do.altered": [
    "The line was cut before the changed message was read. Try another network, and tell the server’s owner.",
    "La ligne a été coupée avant que le message modifié ne soit lu. Essayez un autre réseau et prévenez le propriétaire du serveur.",
  ],
  "cause.pin-changed": [
    "Stop: this link names another server key than the one this browser has pinned.",
    "Attention : ce lien désigne une autre clé de serveur que celle que ce navigateur a épinglée.",
  ],
  "do.pin-changed": [
    "Either the server was given a new key, or someone wants to stand in for it. Ask the owner, by telephone or in person, to read out the fingerprint shown by `duologue keys show`.",
    "Soit le serveur a reçu une nouvelle clé, soit quelqu’un veut se faire passer pour lui. Demandez au propriétaire, par téléphone ou de vive voix, de lire l’empreinte affichée par `duologue keys show`.",
  ],
  "cause.timeout": ["The server did not answer in time.", "Le serveur n’a pas répondu à temps."],
  "do.timeout": ["Check your network and try again.", "Vérifiez votre réseau et réessayez."],
  "cause.lost": ["The connection was lost.", "La connexion a été perdue."],
  "do.lost": ["Check your network and connect again.", "Vérifiez votre réseau et reconnectez-vous."],
  "cause.unreachable": ["The server cannot be reached.", "Le serveur est injoignable."],
  "do.unreachable": [
    "It may be stopped, or your network or a proxy does not let WebSockets through. Try again in a moment.",
    "Il est peut-être arrêté, ou votre réseau ou un proxy bloque les WebSockets. Réessayez dans un instant.",
  ],
  "cause.going-away": ["The server is stopping.", "Le serveur s’arrête."],
  "do.going-away": ["Connect again when it is back.", "Reconnectez-vous quand il sera de retour."],
  "cause.replaced": [
    "A newer connection of this device has taken over the line.",
    "Une connexion plus récente de cet appareil a repris la ligne.",
  ],
  "do.replaced": [
    "It is perhaps another tab. Reconnecting brings the line back here.",
    "C’est peut-être un autre onglet. Vous reconnecter ramène la ligne ici.",
  ],
  "cause.normal": ["The line was ended on purpose.", "La ligne a été fermée volontairement."],
  "do.normal": ["Nothing went wrong. You can connect again.", "Rien d’anormal. Vous pouvez vous reconnecter."],
  "cause.protocol": [
    "The two ends did not understand each other.",
    "Les deux bouts ne se sont pas compris.",
  ],
  "do.protocol": [
    "This page and the server may be of different versions: reload the page. If it stays so, tell the server’s owner.",
    "La page et le serveur sont peut-être de versions différentes : rechargez la page. Si cela persiste, prévenez le propriétaire du serveur.",
  ],
  "cause.internal": ["The server has failed.", "Le serveur a eu une défaillance."],
  "do.internal": [
    "Connect again; if it happens again, tell the server’s owner.",
    "Reconnectez-vous ; si cela se répète, prévenez le propriétaire du serveur.",
  ],
  "cause.bad-signature": [
    "The server did not accept this device’s signature.",
    "Le serveur n’a pas accepté la signature de cet appareil.",
  ],
  "do.bad-signature": [
    "Reload the page. If it stays so, forget this device and open a new invite link.",
    "Rechargez la page. Si cela persiste, oubliez cet appareil et ouvrez un nouveau lien d’invitation.",
  ],
  "cause.forgotten": ["This browser has forgotten its key.", "Ce navigateur a oublié sa clé."],
  "do.forgotten": [
    "To come back, open a new invite link here. The server’s owner still sees the old device in `duologue devices list` and can revoke it.",
    "Pour revenir, ouvrez ici un nouveau lien d’invitation. Le propriétaire du serveur voit encore l’ancien appareil dans `duologue devices list` et peut le révoquer.",
  ],
  "cause.not-loaded": [
    "A part of this page could not be loaded or started.",
    "Une partie de cette page n’a pas pu être chargée ou démarrée.",
  ],
  "do.not-loaded": [
    "Reload the page. It needs a current browser with WebAssembly.",
    "Rechargez la page. Il lui faut un navigateur récent avec WebAssembly.",
  ],
  "do.unknown": ["You can try to connect again.", "Vous pouvez essayer de vous reconnecter."],

  // Why a conversation or a request ended while the line goes on.
  "reset.cancelled": ["the other end has cancelled", "l’autre bout a annulé"],
  "reset.deadline": ["no answer in time", "pas de réponse à temps"],
  "reset.refused": ["the server does not offer this service", "le serveur ne propose pas ce service"],
  "reset.failed": ["the service at the server has failed", "le service a échoué côté serveur"],
  "reset.stopped": ["the service at the server reads no more", "le service ne lit plus côté serveur"],

  "pin.old": ["Pinned in this browser", "Épinglée dans ce navigateur"],
  "pin.new": ["Named by the link", "Désignée par le lien"],
  "pin.unread": ["not known to this page", "inconnue de cette page"],
  "pin.trust": [
    "I have compared the new fingerprint with the owner: trust it",
    "J’ai comparé la nouvelle empreinte avec le propriétaire : lui faire confiance",
  ],
  "action.reconnect": ["Reconnect", "Se reconnecter"],
  "action.keep-pin": ["Ignore the link, keep the pinned key", "Ignorer le lien, garder la clé épinglée"],
  "action.without-invite": ["Connect with the key stored here", "Se connecter avec la clé gardée ici"],

  "who.title": ["Who is who", "Qui est qui"],
  "who.server": ["The server", "Le serveur"],
  "who.device": ["This device", "Cet appareil"],
  "who.algorithm": ["{algorithm} key, not readable by JavaScript", "clé {algorithm}, illisible pour JavaScript"],
  "who.none": ["not known yet", "pas encore connue"],
  "who.hint": [
    "Compare the server’s fingerprint with `duologue keys show`, or with the line in the server’s terminal. The same there and here: nobody stands in between.",
    "Comparez l’empreinte du serveur avec `duologue keys show`, ou avec la ligne dans le terminal du serveur. La même là-bas et ici : personne ne s’est glissé entre vous.",
  ],
  "forget.open": ["Forget this device…", "Oublier cet appareil…"],
  "forget.title": ["Forget this device?", "Oublier cet appareil ?"],
  "forget.body": [
    "This browser’s key for {host} and the pinned server key are erased for good, and the line is closed. To come back you need a new invite link. The server keeps its record of this device until its owner revokes it.",
    "La clé de ce navigateur pour {host} et la clé épinglée du serveur seront effacées pour de bon, et la ligne fermée. Pour revenir, il faudra un nouveau lien d’invitation. Le serveur garde la trace de cet appareil jusqu’à ce que son propriétaire le révoque.",
  ],
  "forget.yes": ["Erase the key", "Effacer la clé"],
  "forget.no": ["Keep it", "La garder"],
  "forget.failed": ["The key could not be erased: {why}", "La clé n’a pas pu être effacée : {why}"],

  "desk.title": ["At the desk", "Au bureau"],
  "desk.intro": [
    "You write to the person at the server’s terminal. What is typed there appears here.",
    "Vous écrivez à la personne devant le terminal du serveur. Ce qu’elle y tape apparaît ici.",
  ],
  "desk.log": ["Conversation", "Conversation"],
  "desk.input": ["Your message", "Votre message"],
  "desk.keys": ["Enter sends, Shift + Enter starts a new line", "Entrée envoie, Maj + Entrée va à la ligne"],
  "desk.send": ["Send", "Envoyer"],
  "desk.you": ["You", "Vous"],
  "desk.them": ["The desk", "Le bureau"],
  "desk.sending": ["sending…", "envoi…"],
  "desk.taken": ["taken ✓", "reçu ✓"],
  "desk.not-sent": ["not delivered: it was not sent", "non remis : rien n’est parti"],
  "desk.unknown": [
    "not delivered, as far as known: the line ended before the answer",
    "non remis, à ce qu’on sait : la ligne s’est fermée avant la réponse",
  ],
  "desk.failed": ["not delivered: {why}", "non remis : {why}"],
  "desk.again": ["Put back into the draft", "Remettre dans le brouillon"],
  "desk.waiting": [
    "The line is not open yet. Your draft stays here.",
    "La ligne n’est pas encore ouverte. Votre brouillon reste ici.",
  ],
  "desk.closed": ["The line is closed. Your draft stays here.", "La ligne est fermée. Votre brouillon reste ici."],
  "desk.refused": [
    "Nobody is at the desk: this server does not offer the `desk` service, or not to this device.",
    "Personne au bureau : ce serveur ne propose pas le service `desk`, ou pas à cet appareil.",
  ],
  "desk.ended": [
    "The desk has ended the conversation. Your next message opens it again.",
    "Le bureau a mis fin à la conversation. Votre prochain message la rouvrira.",
  ],
  "desk.broken": [
    "The conversation was interrupted ({why}). Your next message opens it again.",
    "La conversation a été interrompue ({why}). Votre prochain message la rouvrira.",
  ],

  "echo.title": ["Echo round trip", "Aller-retour d’écho"],
  "echo.intro": [
    "64 random bytes go to the server and must come back unchanged.",
    "64 octets tirés au hasard vont au serveur et doivent revenir inchangés.",
  ],
  "echo.button": ["Send 64 bytes", "Envoyer 64 octets"],
  "echo.waiting": ["On the way…", "En route…"],
  "echo.result": ["{ms} ms, the same bytes came back", "{ms} ms, les mêmes octets sont revenus"],
  "echo.different": ["Other bytes came back than were sent.", "Les octets revenus ne sont pas ceux envoyés."],
  "echo.failed": ["No echo: {why}", "Pas d’écho : {why}"],
  "echo.not-open": ["the line is not open", "la ligne n’est pas ouverte"],
  "echo.summary": [
    "Round trips: {count}; shortest {min} ms, median {median} ms",
    "Allers-retours : {count} ; le plus court {min} ms, médiane {median} ms",
  ],
  "echo.chart": [
    "Chart of the last round trips in milliseconds, oldest first: {list}",
    "Courbe des derniers allers-retours en millisecondes, du plus ancien au plus récent : {list}",
  ],

  "seal.title": ["The letter and the envelope", "La lettre et l’enveloppe"],
  "seal.caption": [
    "“The proxy” here is anything that ends TLS on the way: a CDN, a load balancer, a company’s proxy. What it sees are the very bytes that left or reached this page. The newest writing comes first, each with the records that crossed until the next one; a record can carry several messages, or only an acknowledgement.",
    "« Le proxy » désigne ici tout ce qui termine TLS en chemin : un CDN, un répartiteur de charge, le proxy d’une entreprise. Ce qu’il voit, ce sont les octets mêmes qui ont quitté ou atteint cette page. L’écrit le plus récent vient d’abord, chacun avec les enregistrements passés jusqu’au suivant ; un enregistrement peut porter plusieurs messages, ou un simple accusé de réception.",
  ],
  "seal.wrote": ["What you wrote", "Ce que vous avez écrit"],
  "seal.sees": ["What the proxy sees", "Ce que voit le proxy"],
  "seal.wrote-none": ["Nothing yet. Write to the desk, or send an echo.", "Rien encore. Écrivez au bureau, ou envoyez un écho."],
  "seal.sees-none": ["No record has passed yet.", "Aucun enregistrement n’est encore passé."],
  "seal.desk": ["to the desk", "au bureau"],
  "seal.echo": ["to the echo", "à l’écho"],
  "seal.out": ["→ left", "→ parti"],
  "seal.in": ["← arrived", "← arrivé"],
  "seal.byte": ["1 byte", "1 octet"],
  "seal.bytes": ["{count} bytes", "{count} octets"],
  "seal.first": ["{count} bytes, the first {shown} shown", "{count} octets, les {shown} premiers affichés"],

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

export const LANGUAGES = ["en", "fr"];

/** U+202F before ; ? ! and U+00A0 before : and inside « », as French sets them. */
function typesetFrench(text) {
  return text.replace(/ ([;?!])/g, "\u202f$1").replace(/ ([:»])/g, "\u00a0$1").replace(/« /g, "«\u00a0");
}

/** `TEXT[language][key]`. */
export const TEXT = { en: {}, fr: {} };
for (const [key, [en, fr]] of Object.entries(WORDS)) {
  TEXT.en[key] = en;
  TEXT.fr[key] = typesetFrench(fr);
}
