/**
 * The words of text.js about the conversation at the desk, loaded with desk.js. [English, French].
 */

export const DESK_WORDS = {
  "desk.you": ["You", "Vous"],
  "desk.them": ["The desk", "L’accueil"],
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
    "Personne à l’accueil : ce serveur ne propose pas le service `desk`, ou pas à cet appareil.",
  ],
  "desk.ended": [
    "The desk has ended the conversation. Your next message opens it again.",
    "L’accueil a mis fin à la conversation. Votre prochain message la rouvrira.",
  ],
  "desk.broken": [
    "The conversation was interrupted ({why}). Your next message opens it again.",
    "La conversation a été interrompue ({why}). Votre prochain message la rouvrira.",
  ],
  "desk.fresh": [
    "The line is open again, in a new session: {why}. What had not left follows by itself.",
    "La ligne est rouverte, dans une nouvelle session : {why}. Ce qui n’était pas parti suit de lui-même.",
  ],
  "desk.intro": [
    "You write to the person at the server’s terminal. What is typed there appears here.",
    "Vous écrivez à la personne devant le terminal du serveur. Ce qu’elle y tape apparaît ici.",
  ],
};
