/**
 * The words of text.js about comparing keys aloud, loaded with compare.js. [English, French].
 */

export const COMPARE_WORDS = {
  "compare.intro": [
    "Call the server’s owner, or stand beside them. One of you reads these eight words, the other looks whether `duologue keys show` prints the same. If one word differs, somebody stands in between: close this page.",
    "Appelez le propriétaire du serveur, ou mettez-vous à côté de lui. L’un lit ces huit mots, l’autre regarde si `duologue keys show` affiche les mêmes. Si un seul mot diffère, quelqu’un s’est glissé entre vous : fermez cette page.",
  ],
  "compare.device-hint": [
    "The owner finds this device’s words in `duologue devices list --words`.",
    "Le propriétaire trouve les mots de cet appareil dans `duologue devices list --words`.",
  ],
  "compare.no-list": ["The list of words could not be loaded.", "La liste de mots n’a pas pu être chargée."],
  "compare.yes": ["The server’s words are the same", "Les mots du serveur sont les mêmes"],
};
