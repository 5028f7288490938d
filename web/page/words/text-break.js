/**
 * The words of text.js about breaking the line, loaded with break.js. [English, French].
 */

export const BREAK_WORDS = {
  "break.title": ["Break it", "La casser"],
  "break.intro": [
    "A race: this line, and beside it a plain WebSocket to the same server, which is opened again when it has closed. The same numbered messages go back and forth on both, through the same real fault.",
    "Une course : cette ligne et, à côté, un WebSocket ordinaire vers le même serveur, rouvert quand il s’est fermé. Les mêmes messages numérotés vont et viennent sur les deux, à travers la même vraie panne.",
  ],
  "break.cut": ["Cut both", "Couper les deux"],
  "break.flip": ["Flip a bit", "Changer un bit"],
  "break.hold": ["Stall both for 8 s", "Les bloquer 8 s"],
  "break.race": ["Counts of the race", "Décompte de la course"],
  "break.line": ["This line", "Cette ligne"],
  "break.websocket": ["A plain WebSocket", "Un WebSocket ordinaire"],
  "break.sent": ["sent", "envoyés"],
  "break.back": ["came back", "revenus"],
  "break.lost": ["lost", "perdus"],
  "break.wrong": ["changed or twice", "changés ou en double"],
  "break.time": ["back after", "de retour après"],
  "break.running": ["Messages are under way…", "Des messages sont en route…"],
  "break.result": ["This line: {line} The plain WebSocket: {plain}", "Cette ligne : {line} Le WebSocket ordinaire : {plain}"],
  "break.resumed": [
    "lost, and resumed after {ms} ms, with {lost} messages lost, {wrong} changed or twice.",
    "perdue, et reprise après {ms} ms, avec {lost} message perdu, {wrong} changé ou en double.",
  ],
  "break.late": [
    "late by {ms} ms, with {lost} messages lost, {wrong} changed or twice.",
    "en retard de {ms} ms, avec {lost} message perdu, {wrong} changé ou en double.",
  ],
  "break.failed": [
    "it did not come back whole in time: {back} of {sent} messages came back, {wrong} changed or twice.",
    "elle n’est pas revenue entière à temps : {back} messages sur {sent} revenus, {wrong} changés ou en double.",
  ],
  "break.plain": [
    "{lost} of {sent} messages lost, {wrong} changed or twice.",
    "sur {sent} messages, {lost} perdu, {wrong} changé ou en double.",
  ],
  "break.plain-whole": ["all {sent} messages came back, after {ms} ms.", "les {sent} messages sont revenus, après {ms} ms."],
};
