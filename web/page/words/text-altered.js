/**
 * The words of text.js about records that were altered on the way, loaded with altered.js. [English, French].
 */

export const ALTERED_WORDS = {
  "altered.once": [
    "Something was altered on the way, at {time}. It was noticed and not read, and the line goes on. If it comes again, try another network and tell the server’s owner.",
    "Quelque chose a été altéré en chemin, à {time}. Cela a été remarqué et n’a pas été lu, et la ligne continue. Si cela se répète, essayez un autre réseau et prévenez le propriétaire du serveur.",
  ],
  "altered.times": [
    "Something was altered on the way, {count} times since {time}. It was noticed each time and not read. Something between you and the server tampers with the line: try another network, and tell the server’s owner.",
    "Quelque chose a été altéré en chemin, {count} fois depuis {time}. Cela a été remarqué chaque fois et n’a pas été lu. Quelque chose, entre vous et le serveur, altère la ligne : essayez un autre réseau et prévenez le propriétaire du serveur.",
  ],
};
