/**
 * The words of text.js about round trips, loaded with echo.js. [English, French].
 */

export const ECHO_WORDS = {
  "echo.title": ["Echo round trip", "Aller-retour d’écho"],
  "echo.intro": [
    "64 random bytes go to the server and must come back unchanged.",
    "64 octets tirés au hasard vont au serveur et doivent revenir inchangés.",
  ],
  "echo.button": ["Send 64 bytes", "Envoyer 64 octets"],
  "echo.waiting": ["On the way…", "En route…"],
  "echo.result": ["{ms} ms, the same bytes came back", "{ms} ms, les mêmes octets sont revenus"],
  "echo.held": ["Waiting for the line…", "En attente de la ligne…"],
  "echo.resumed": [
    "The same bytes came back, after a wait for the line",
    "Les mêmes octets sont revenus, après une attente de la ligne",
  ],
  "echo.different": ["Other bytes came back than were sent.", "Les octets revenus ne sont pas ceux envoyés."],
  "echo.failed": ["No echo: {why}", "Pas d’écho : {why}"],
  "echo.not-open": ["the line is not open", "la ligne n’est pas ouverte"],
  "echo.one": ["One round trip so far, of {min} ms", "Un aller-retour jusqu’ici, de {min} ms"],
  "echo.few": [
    "{count} round trips so far, from {min} to {max} ms",
    "{count} allers-retours jusqu’ici, de {min} à {max} ms",
  ],
  "echo.chart-few": [
    "Chart of the first {count} round trips: from {min} to {max} ms",
    "Courbe des {count} premiers allers-retours : de {min} à {max} ms",
  ],
  "echo.summary": [
    "Half of {count} round trips took at most {p50} ms, 95 % at most {p95} ms",
    "La moitié des {count} allers-retours a pris au plus {p50} ms, 95 % au plus {p95} ms",
  ],
  "echo.chart": [
    "Chart of the last {count} round trips: from {min} to {max} ms, half within {p50} ms, 95 % within {p95} ms",
    "Courbe des {count} derniers allers-retours : de {min} à {max} ms, la moitié en {p50} ms, 95 % en {p95} ms",
  ],
};
