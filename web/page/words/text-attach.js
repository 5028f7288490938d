/**
 * The words of text.js about the ways in for files, loaded with attach.js. [English, French].
 */

export const ATTACH_WORDS = {
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
};
