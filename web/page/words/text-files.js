/**
 * The words of text.js about files on their way, loaded with files.js. [English, French].
 */

export const FILES_WORDS = {
  "files.progress": ["Progress of {name}", "Avancement de {name}"],
  "files.cancel": ["Cancel", "Annuler"],
  "files.cancel-one": ["Cancel: {name}", "Annuler : {name}"],
  "files.pause": ["Pause", "Suspendre"],
  "files.pause-one": ["Pause: {name}", "Suspendre : {name}"],
  "files.resume": ["Go on", "Continuer"],
  "files.resume-one": ["Go on: {name}", "Continuer : {name}"],
  "files.reopen": ["Choose it again…", "Le choisir de nouveau…"],
  "files.reopen-one": ["Choose it again…: {name}", "Le choisir de nouveau… : {name}"],
  "files.paused": ["Paused, {percent} % of {size} sent", "Suspendu, {percent} % de {size} envoyés"],
  "files.asks": [
    "Unfinished, {percent} % of {size} sent. Choose this file again, and it goes on there.",
    "Inachevé, {percent} % de {size} envoyés. Choisissez de nouveau ce fichier, et l’envoi reprend là.",
  ],
  "files.asks-again": [
    "Unfinished, {percent} % of {size} sent. The browser wants to be told that this page may read the file again.",
    "Inachevé, {percent} % de {size} envoyés. Le navigateur veut savoir si cette page peut relire le fichier.",
  ],
  "files.again": ["Send again", "Renvoyer"],
  "files.again-one": ["Send again: {name}", "Renvoyer : {name}"],
  "files.many": [
    "This page keeps {count} files at a time. Add the others when some of these are done.",
    "Cette page garde {count} fichiers à la fois. Ajoutez les autres quand certains seront arrivés.",
  ],
  "files.waiting": ["Waiting its turn, {size}", "Attend son tour, {size}"],
  "files.held": ["Waiting for the line, {percent} % of {size} sent", "Attend la ligne, {percent} % de {size} envoyés"],
  "files.begun": ["Sending, {percent} % of {size}", "Envoi, {percent} % de {size}"],
  "files.sending": [
    "Sending, {percent} % of {size}, {speed}/s, {left} left",
    "Envoi, {percent} % de {size}, {speed}/s, encore {left}",
  ],
  "files.checking": [
    "Comparing this file with the part that the server has already…",
    "Comparaison de ce fichier avec la partie que le serveur a déjà…",
  ],
  "files.storing": ["All sent, {size}. The server is storing it…", "Tout est envoyé, {size}. Le serveur l’enregistre…"],
  "files.done": ["Done: stored as {name}, {size}", "Terminé : enregistré sous {name}, {size}"],
  "files.hash": ["SHA-256 at the server", "SHA-256 côté serveur"],
  "files.cancelled": ["Cancelled. Nothing more of it is sent.", "Annulé. Plus rien n’en est envoyé."],
  "files.refused": [
    "Not sent: this server takes no files (it does not offer the `drop` service, or not to this device).",
    "Non envoyé : ce serveur ne prend pas de fichiers (il ne propose pas le service `drop`, ou pas à cet appareil).",
  ],
  "files.broken": ["Not sent: {why}. Send it again.", "Non envoyé : {why}. Renvoyez-le."],
  "files.other": [
    "Not sent. The server says: {why} Ask its owner.",
    "Non envoyé. Le serveur dit : {why} Voyez avec son propriétaire.",
  ],
  "drop.bad-header": [
    "Not sent: the server did not understand the announcement of this file. Reload the page; if it stays so, tell the server’s owner.",
    "Non envoyé : le serveur n’a pas compris l’annonce de ce fichier. Rechargez la page ; si cela persiste, prévenez le propriétaire du serveur.",
  ],
  "drop.bad-name": [
    "Not stored: the server has too many files of this name. Give this one another name and choose it again.",
    "Non enregistré : le serveur a trop de fichiers de ce nom. Donnez-en un autre à celui-ci et choisissez-le de nouveau.",
  ],
  "drop.too-large": [
    "Not sent: the server has no room for this file. Send a smaller one, or ask the server’s owner to make room.",
    "Non envoyé : le serveur n’a pas de place pour ce fichier. Envoyez-en un plus petit, ou demandez au propriétaire du serveur de faire de la place.",
  ],
  "drop.busy": [
    "Not sent: a newer attempt to send this file has taken over. If there is none, send it again.",
    "Non envoyé : une tentative plus récente d’envoyer ce fichier a pris le relais. S’il n’y en a pas, renvoyez-le.",
  ],
  "drop.size-mismatch": [
    "Not stored: not as many bytes arrived as were announced, so the file has perhaps changed. Choose it again.",
    "Non enregistré : le nombre d’octets arrivés n’est pas celui annoncé, le fichier a peut-être changé. Choisissez-le de nouveau.",
  ],
  "drop.disk": [
    "Not stored: the server cannot write the file, perhaps its disk is full. Tell the server’s owner, then send it again.",
    "Non enregistré : le serveur ne peut pas écrire le fichier, son disque est peut-être plein. Prévenez le propriétaire du serveur, puis renvoyez-le.",
  ],
  "drop.bad-answer": [
    "Not sent: this page does not understand the server’s answer. Reload the page; if it stays so, tell the server’s owner.",
    "Non envoyé : cette page ne comprend pas la réponse du serveur. Rechargez la page ; si cela persiste, prévenez le propriétaire du serveur.",
  ],
  "drop.unreadable": [
    "Not sent: the browser cannot read this file. It has changed or gone since, or is a folder: choose it again.",
    "Non envoyé : le navigateur ne peut pas lire ce fichier. Il a changé ou disparu depuis, ou c’est un dossier : choisissez-le de nouveau.",
  ],
  // Read out when a file's fate changes.
  "said.sending": ["{name}: sending", "{name} : envoi"],
  "said.held": ["{name}: waiting for the line", "{name} : attend la ligne"],
  "said.paused": ["{name}: paused", "{name} : suspendu"],
  "said.asks": ["{name}: unfinished, choose it again to go on", "{name} : inachevé, choisissez-le de nouveau pour continuer"],
  "said.done": ["{name}: done, stored at the server", "{name} : terminé, enregistré sur le serveur"],
  "said.failed": ["{name}: not sent", "{name} : non envoyé"],
  "said.cancelled": ["{name}: cancelled", "{name} : annulé"],
  "size.b": ["{value} B", "{value} o"],
  "size.kb": ["{value} kB", "{value} ko"],
  "size.mb": ["{value} MB", "{value} Mo"],
  "size.gb": ["{value} GB", "{value} Go"],
  "size.tb": ["{value} TB", "{value} To"],
  "time.seconds": ["{seconds} s", "{seconds} s"],
  "time.minutes": ["{minutes} min", "{minutes} min"],
  "time.hours": ["{hours} h {minutes} min", "{hours} h {minutes} min"],
};
