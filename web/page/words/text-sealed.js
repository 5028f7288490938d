/**
 * The words of text.js about the letter and the envelope, loaded with sealed.js. [English, French].
 */

export const SEALED_WORDS = {
  "seal.caption": [
    "“The proxy” here is anything that ends TLS on the way: a CDN, a load balancer, a company’s proxy. What it sees are the very bytes that left or reached this page. The newest writing comes first, each with the records that crossed until the next one; a record can carry several messages, or only an acknowledgement. Those of files on their way are left out.",
    "« Le proxy » désigne ici tout ce qui termine TLS en chemin : un CDN, un répartiteur de charge, le proxy d’une entreprise. Ce qu’il voit, ce sont les octets mêmes qui ont quitté ou atteint cette page. L’écrit le plus récent vient d’abord, chacun avec les enregistrements passés jusqu’au suivant ; un enregistrement peut porter plusieurs messages, ou un simple accusé de réception. Ceux des fichiers en route n’y figurent pas.",
  ],
  "seal.wrote": ["What you wrote", "Ce que vous avez écrit"],
  "seal.sees": ["What the proxy sees", "Ce que voit le proxy"],
  "seal.wrote-none": ["Nothing yet. Write to the desk, or send an echo.", "Rien encore. Écrivez à l’accueil, ou envoyez un écho."],
  "seal.sees-none": ["No record has passed yet.", "Aucun enregistrement n’est encore passé."],
  "seal.desk": ["to the desk", "à l’accueil"],
  "seal.echo": ["to the echo", "à l’écho"],
  "seal.out": ["→ left", "→ parti"],
  "seal.in": ["← arrived", "← arrivé"],
  "seal.byte": ["1 byte", "1 octet"],
  "seal.bytes": ["{count} bytes", "{count} octets"],
  "seal.first": ["{count} bytes, the first {shown} shown", "{count} octets, les {shown} premiers affichés"],
};
