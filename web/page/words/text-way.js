/**
 * The words of text.js about the way between the page and the server, loaded with way.js. [English, French].
 */

export const WAY_WORDS = {
  "way.told": [
    "Between you and the server, something {what}. What the line carries stays sealed.",
    "Entre vous et le serveur, quelque chose {what}. Ce que porte la ligne reste scellé.",
  ],
  "way.own": [
    "Between you and the server, something {what}: the server’s owner has put a proxy there, which may be it. What the line carries stays sealed.",
    "Entre vous et le serveur, quelque chose {what} : le propriétaire du serveur y a mis un proxy, c’est peut-être lui. Ce que porte la ligne reste scellé.",
  ],
  "way.host": ["rewrites the name under which you have opened it (Host)", "réécrit le nom sous lequel vous l’avez ouvert (Host)"],
  "way.origin": ["rewrites where this page comes from (Origin)", "réécrit d’où vient cette page (Origin)"],
  "way.form": ["takes the line’s first message out of the request", "retire de la demande le premier message de la ligne"],
  "way.headers": ["adds fields to the request ({names})", "ajoute des champs à la demande ({names})"],
  "way.tls-version": ["ends TLS", "met fin à TLS"],
};
