/**
 * The words of text.js about adding and removing devices, loaded with pair.js. [English, French].
 */

export const PAIR_WORDS = {
  "pair.asking": ["Asking the server for a link…", "Demande d’un lien au serveur…"],
  "pair.intro": [
    "Open this link on the other device, or point its camera at the square. It lets one device in, within {hours} hours. Whoever has it can come in with it: show it to nobody else.",
    "Ouvrez ce lien sur l’autre appareil, ou visez le carré avec son appareil photo. Il laisse entrer un seul appareil, dans les {hours} heures. Quiconque l’a peut s’en servir : ne le montrez à personne d’autre.",
  ],
  "pair.here": [
    "Open this link in another browser of this machine: it leads to {host}, which is this machine only. For a phone, start the server by `duologue dev --lan` and open the link that it prints. It lets one device in, within {hours} hours. Whoever has it can come in with it: show it to nobody else.",
    "Ouvrez ce lien dans un autre navigateur de cette machine : il mène à {host}, c’est-à-dire à cette machine seulement. Pour un téléphone, lancez le serveur par `duologue dev --lan` et ouvrez le lien qu’il affiche. Il laisse entrer un seul appareil, dans les {hours} heures. Quiconque l’a peut s’en servir : ne le montrez à personne d’autre.",
  ],
  "pair.qr": ["The link as a QR code", "Le lien en code QR"],
  "pair.copy": ["Copy the link", "Copier le lien"],
  "pair.copied": ["Copied", "Copié"],
  "pair.too-many": [
    "Five links of this device can still be used. Use one of them, or wait until one expires.",
    "Cinq liens de cet appareil peuvent encore servir. Utilisez l’un d’eux, ou attendez que l’un expire.",
  ],
  "pair.refused": [
    "This server leaves it to its owner to let devices in, by `duologue invite new`.",
    "Ce serveur laisse à son propriétaire le soin d’admettre les appareils, par `duologue invite new`.",
  ],
  "pair.failed": ["No link: {why}", "Pas de lien : {why}"],
  "pair.name": [
    "This device came in as “{name}”. To remove it for good, or if it was lost, the server’s owner runs:",
    "Cet appareil est entré sous le nom « {name} ». Pour le retirer pour de bon, ou s’il est perdu, le propriétaire du serveur lance :",
  ],
};
