/**
 * The words of text.js about forgetting this device, loaded with forget.js. [English, French].
 */

export const FORGET_WORDS = {
  "forget.title": ["Forget this device?", "Oublier cet appareil ?"],
  "forget.body": [
    "This browser’s key for {host}, the pinned server key, your draft and the list of unfinished files are erased for good, and the line is closed. To come back you need a new invite link. The server keeps its record of this device until its owner revokes it.",
    "La clé de ce navigateur pour {host}, la clé épinglée du serveur, votre brouillon et la liste des fichiers inachevés seront effacés pour de bon, et la ligne fermée. Pour revenir, il faudra un nouveau lien d’invitation. Le serveur garde la trace de cet appareil jusqu’à ce que son propriétaire le révoque.",
  ],
  "forget.yes": ["Erase the key", "Effacer la clé"],
  "forget.no": ["Keep it", "La garder"],
  "forget.failed": ["The key could not be erased: {why}", "La clé n’a pas pu être effacée : {why}"],
};
