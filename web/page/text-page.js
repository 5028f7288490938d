/**
 * The words of text.js about what is done on the page, from top to bottom. [English, French].
 */

export const PAGE_WORDS = {
  "who.title": ["Who is who", "Qui est qui"],
  "who.server": ["The server", "Le serveur"],
  "who.device": ["This device", "Cet appareil"],
  "who.algorithm": ["{algorithm} key, not readable by JavaScript", "clé {algorithm}, illisible pour JavaScript"],
  "who.none": ["not known yet", "pas encore connue"],
  "who.hint": [
    "Compare the server’s fingerprint with `duologue keys show`, or with the line in the server’s terminal. The same there and here: nobody stands in between.",
    "Comparez l’empreinte du serveur avec `duologue keys show`, ou avec la ligne dans le terminal du serveur. La même là-bas et ici : personne ne s’est glissé entre vous.",
  ],
  "compare.open": ["Compare aloud…", "Comparer de vive voix…"],
  "compare.close": ["Done comparing", "Fin de la comparaison"],
  "compared.none": ["○ nobody has compared this key yet", "○ personne n’a encore comparé cette clé"],
  "compared.same": ["✓ you compared this key on {day}", "✓ vous avez comparé cette clé le {day}"],
  "compared.changed": [
    "This is NOT the key that you compared on {day}. That one was {fingerprint}. Compare again before you write anything private.",
    "Ce n’est PAS la clé que vous avez comparée le {day}. C’était {fingerprint}. Comparez de nouveau avant d’écrire quoi que ce soit de privé.",
  ],
  "compared.not-kept": ["This browser could not remember it.", "Ce navigateur n’a pas pu s’en souvenir."],
  "devices.title": ["Your devices", "Vos appareils"],
  "pair.open": ["Add or remove a device…", "Ajouter ou retirer un appareil…"],
  "pair.close": ["Hide", "Masquer"],
  "who.not-loaded": [
    "A part of this page could not be loaded: reload it.",
    "Une partie de cette page n’a pas pu être chargée : rechargez-la.",
  ],
  "forget.open": ["Forget this device…", "Oublier cet appareil…"],

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
  "desk.waiting": ["waits for the line", "attend la ligne"],
  "desk.sent": ["sent", "envoyé"],
  "desk.taken": ["taken", "reçu"],
  "desk.not-sent": ["not delivered: it was not sent", "non remis : rien n’est parti"],
  "desk.unknown": [
    "perhaps not delivered: the line ended before the answer",
    "peut-être non remis : la ligne a pris fin avant la réponse",
  ],
  "desk.failed": ["not delivered: {why}", "non remis : {why}"],
  "desk.again": ["Send again", "Renvoyer"],
  "desk.not-open": [
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
  "desk.fresh": [
    "The line is open again and the conversation has begun anew: {why}.",
    "La ligne est rouverte et la conversation a recommencé : {why}.",
  ],

  "echo.title": ["Echo round trip", "Aller-retour d’écho"],
  "echo.intro": [
    "64 random bytes go to the server and must come back unchanged.",
    "64 octets tirés au hasard vont au serveur et doivent revenir inchangés.",
  ],
  "echo.button": ["Send 64 bytes", "Envoyer 64 octets"],
  "echo.not-loaded": [
    "The part of this page that measures could not be loaded. Reload the page.",
    "La partie de cette page qui mesure n’a pas pu être chargée. Rechargez la page.",
  ],

  "break.title": ["Break it", "La casser"],
  "break.intro": [
    "Real faults, beneath the encryption, while numbered messages go back and forth. Watch the line come back.",
    "De vraies pannes, sous le chiffrement, pendant que des messages numérotés vont et viennent. Regardez la ligne revenir.",
  ],
  "break.cut": ["Cut the line", "Couper la ligne"],
  "break.flip": ["Flip a byte", "Changer un octet"],
  "break.hold": ["Stall it for 8 s", "La bloquer 8 s"],
  "break.not-loaded": [
    "The part of this page that breaks things could not be loaded. Reload the page.",
    "La partie de cette page qui casse n’a pas pu être chargée. Rechargez la page.",
  ],

  "files.title": ["Files", "Fichiers"],
  "files.intro": [
    "Choose files, drop them anywhere on this page, or paste them. They go to the server one after the other, and an interrupted line does not harm them.",
    "Choisissez des fichiers, déposez-les n’importe où sur cette page, ou collez-les. Ils partent au serveur l’un après l’autre, et une ligne interrompue ne leur nuit pas.",
  ],
  "files.choose": ["Choose files…", "Choisir des fichiers…"],
  "files.drop": ["Let go to send to the server", "Relâchez pour envoyer au serveur"],
  "files.list": ["Files sent from this page", "Fichiers envoyés depuis cette page"],
  "files.not-loaded": [
    "The part of this page that sends files could not be loaded. Reload the page.",
    "La partie de cette page qui envoie des fichiers n’a pas pu être chargée. Rechargez la page.",
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
  "seal.file": ["to announce a file", "pour annoncer un fichier"],
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
