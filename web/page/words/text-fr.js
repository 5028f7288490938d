/**
 * The words of text.js in French, in the order of text-en.js. Spaces before : ; ? ! % and inside « » are typed as
 * ordinary ones.
 */

export const WORDS = {
  "page.title": "Duologue : une ligne privée",
  "page.tagline": "une ligne à deux",
  "page.language": "Langue",
  "page.skip": "Aller à la conversation",

  "line.you": "Vous, dans ce navigateur",
  "line.between": "en chemin : rien que du scellé",

  "state.connecting": "Ouverture de la ligne…",
  "state.open": "La ligne est ouverte",
  "state.resuming": "Reprise de la ligne…",
  "state.draining": "Le serveur va s’arrêter",
  "state.closed": "La ligne est fermée",
  "detail.connecting": "De nouvelles clés se négocient avec {host}.",
  "detail.open": "Scellé ici, ouvert chez {host}, et nulle part entre les deux.",
  "detail.resuming": "La connexion a été interrompue. Ce que vous envoyez l’attend, et dit si c’est arrivé.",
  "detail.draining": "Ce qui est en route est encore remis. Ensuite, cette page rappelle jusqu’au retour de {host}.",
  "detail.closed": "Rien ne passe tant qu’elle n’est pas rouverte.",

  // Why a line ended (`cause.<code>`) and what to do about it (`do.<code>`): what may be told without a network. The rest: text-cause.js.
  "cause.timeout": "Le serveur n’a pas répondu à temps.",
  "do.timeout": "Vérifiez votre réseau et réessayez.",
  "cause.unreachable": "Le serveur est injoignable.",
  "do.unreachable":
    "Il est peut-être arrêté, ou votre réseau ou un proxy bloque les WebSockets. Réessayez dans un instant.",
  "cause.offline": "Vous êtes hors ligne.",
  "do.offline":
    "Cette page a été gardée dans votre navigateur, et ce que vous tapez reste ici. La ligne se rouvrira dès qu’il y aura un réseau.",
  "cause.not-loaded": "Une partie de cette page n’a pas pu être chargée ou démarrée.",
  "do.not-loaded": "Rechargez la page. Il lui faut un navigateur récent avec WebAssembly.",
  "do.unknown": "Vous pouvez essayer de vous reconnecter.",

  "action.reconnect": "Se reconnecter",

  "who.title": "Qui est qui",
  "who.server": "Le serveur",
  "who.device": "Cet appareil",
  "who.algorithm": "clé {algorithm}, illisible pour JavaScript",
  "who.none": "pas encore connue",
  "who.hint":
    "Comparez l’empreinte du serveur avec `duologue keys show`, ou avec la ligne dans le terminal du serveur. La même là-bas et ici : personne ne s’est glissé entre vous.",
  "compare.open": "Comparer de vive voix…",
  "compare.close": "Fin de la comparaison",
  "compared.none": "○ personne n’a encore comparé cette clé",
  "compared.same": "✓ vous avez comparé cette clé le {day}",
  "compared.changed":
    "Ce n’est PAS la clé que vous avez comparée le {day}. C’était {fingerprint}. Comparez de nouveau avant d’écrire quoi que ce soit de privé.",
  "compared.not-kept": "Ce navigateur n’a pas pu s’en souvenir.",
  "devices.title": "Vos appareils",
  "pair.open": "Ajouter ou retirer un appareil…",
  "pair.close": "Masquer",
  "who.not-loaded": "Une partie de cette page n’a pas pu être chargée : rechargez-la.",
  "forget.open": "Oublier cet appareil…",

  "desk.title": "À l’accueil",
  "desk.log": "Conversation",
  "desk.input": "Votre message",
  "desk.keys": "Entrée envoie, Maj + Entrée va à la ligne",
  "desk.send": "Envoyer",

  "seal.title": "La lettre et l’enveloppe",
};
