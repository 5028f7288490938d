/**
 * The words of text.js for who is not let in, loaded with shut.js. [English, French].
 */

export const SHUT_WORDS = {
  "shut.label": ["An invite link for this server", "Un lien d’invitation pour ce serveur"],
  "shut.open": ["Open it", "L’ouvrir"],
  "shut.no-invite": [
    "That is no invite link. One looks like {example}: copy all of it, to its last character.",
    "Ce n’est pas un lien d’invitation. Il ressemble à {example} : copiez-le en entier, jusqu’à son dernier caractère.",
  ],
  "shut.elsewhere": [
    "That link is for another server, {host}. Open it in the address bar if you know its owner.",
    "Ce lien est pour un autre serveur, {host}. Ouvrez-le dans la barre d’adresse si vous connaissez son propriétaire.",
  ],
};
