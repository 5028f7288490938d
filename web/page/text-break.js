/**
 * The words of text.js about breaking the line, loaded with break.js. [English, French].
 */

export const BREAK_WORDS = {
  "break.title": ["Break it", "La casser"],
  "break.intro": [
    "Real faults, beneath the encryption, while numbered messages go back and forth. Watch the line come back.",
    "De vraies pannes, sous le chiffrement, pendant que des messages numérotés vont et viennent. Regardez la ligne revenir.",
  ],
  "break.cut": ["Cut the line", "Couper la ligne"],
  "break.flip": ["Flip a byte", "Changer un octet"],
  "break.hold": ["Stall it for 8 s", "La bloquer 8 s"],
  "break.not-open": ["The line is not open.", "La ligne n’est pas ouverte."],
  "break.running": ["Messages are under way…", "Des messages sont en route…"],
  "break.resumed": [
    "Lost, and resumed after {ms} ms. {sent} messages left, {back} came back: {lost} lost, {wrong} twice or out of order.",
    "Perdue, et reprise après {ms} ms. {sent} messages partis, {back} revenus : {lost} perdu, {wrong} en double ou en désordre.",
  ],
  "break.late": [
    "Nothing was lost, only late, by {ms} ms. {sent} messages left, {back} came back: {lost} lost, {wrong} twice or out of order.",
    "Rien de perdu, seulement du retard, de {ms} ms. {sent} messages partis, {back} revenus : {lost} perdu, {wrong} en double ou en désordre.",
  ],
  "break.failed": [
    "It did not come back in time: {sent} messages left, {back} came back, {wrong} twice or out of order.",
    "Elle n’est pas revenue à temps : {sent} messages partis, {back} revenus, {wrong} en double ou en désordre.",
  ],
};
