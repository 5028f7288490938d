/**
 * The words of text.js about causes that are rare, and of which a page learns from its server: of a line's end (`cause.`, and
 * `do.` what to do about it), of a conversation's, of a session's. Loaded by cause.js with the first of them. [English, French].
 */

export const CAUSE_WORDS = {
  "cause.going-away": ["The server is stopping.", "Le serveur s’arrête."],
  "do.going-away": ["Connect again when it is back.", "Reconnectez-vous quand il sera de retour."],
  "cause.replaced": [
    "A newer connection of this device has taken over the line.",
    "Une connexion plus récente de cet appareil a repris la ligne.",
  ],
  "do.replaced": [
    "It is perhaps another tab. Reconnecting brings the line back here.",
    "C’est peut-être un autre onglet. Vous reconnecter ramène la ligne ici.",
  ],
  "cause.normal": ["The line was ended on purpose.", "La ligne a été fermée volontairement."],
  "do.normal": ["Nothing went wrong. You can connect again.", "Rien d’anormal. Vous pouvez vous reconnecter."],
  "cause.no-identity": [
    "This browser has no key for this server: it was never enrolled, or its stored key was lost or cleared.",
    "Ce navigateur n’a pas de clé pour ce serveur : il n’a jamais été inscrit, ou sa clé enregistrée a été perdue ou effacée.",
  ],
  "do.no-identity": [
    "Ask the server’s owner for a new invite link, made by `duologue invite new`, and open it in this browser.",
    "Demandez au propriétaire du serveur un nouveau lien d’invitation, créé par `duologue invite new`, et ouvrez-le dans ce navigateur.",
  ],
  "cause.identity-lost": [
    "This browser still knows the server, but its own device key is gone.",
    "Ce navigateur connaît encore le serveur, mais sa propre clé d’appareil a disparu.",
  ],
  "do.identity-lost": [
    "Ask the server’s owner for a new invite link, made by `duologue invite new`, and open it here. The server’s key stays pinned.",
    "Demandez au propriétaire du serveur un nouveau lien d’invitation, créé par `duologue invite new`, et ouvrez-le ici. La clé du serveur reste épinglée.",
  ],
  "cause.bad-invite": ["This invite link is damaged or incomplete.", "Ce lien d’invitation est abîmé ou incomplet."],
  "do.bad-invite": [
    "Copy the whole link again, up to its last character, and open it here.",
    "Copiez de nouveau le lien entier, jusqu’à son dernier caractère, et ouvrez-le ici.",
  ],
  "cause.invite-used": [
    "This invite was already used by another device: each one admits a single device, once.",
    "Cette invitation a déjà servi à un autre appareil : chacune n’en admet qu’un seul, une seule fois.",
  ],
  "do.invite-used": [
    "Ask the server’s owner for a new one (`duologue invite new`). If you did not use this one yourself, tell the owner: someone else did.",
    "Demandez-en une nouvelle au propriétaire du serveur (`duologue invite new`). Si ce n’est pas vous qui l’avez utilisée, prévenez-le : quelqu’un d’autre l’a fait.",
  ],
  "cause.invite-expired": ["This invite has expired.", "Cette invitation a expiré."],
  "do.invite-expired": [
    "Ask the server’s owner for a new one (`duologue invite new`).",
    "Demandez-en une nouvelle au propriétaire du serveur (`duologue invite new`).",
  ],
  "cause.invite-unknown": ["The server does not know this invite.", "Le serveur ne connaît pas cette invitation."],
  "do.invite-unknown": [
    "Check that the link is meant for this server, or ask its owner for a new one (`duologue invite new`).",
    "Vérifiez que le lien est bien destiné à ce serveur, ou demandez-en un nouveau à son propriétaire (`duologue invite new`).",
  ],
  "cause.not-enrolled": ["The server does not know this device.", "Le serveur ne connaît pas cet appareil."],
  "do.not-enrolled": [
    "Ask the server’s owner for an invite link (`duologue invite new`) and open it here.",
    "Demandez au propriétaire du serveur un lien d’invitation (`duologue invite new`) et ouvrez-le ici.",
  ],
  "cause.device-revoked": [
    "The server’s owner has revoked this device.",
    "Le propriétaire du serveur a révoqué cet appareil.",
  ],
  "do.device-revoked": [
    "If that is a mistake, ask the owner. To be enrolled anew, forget this device here and open a new invite link.",
    "S’il s’agit d’une erreur, voyez avec le propriétaire. Pour être inscrit de nouveau, oubliez cet appareil ici et ouvrez un nouveau lien d’invitation.",
  ],
  "cause.origin-refused": [
    "The server does not accept pages from this address.",
    "Le serveur n’accepte pas les pages venant de cette adresse.",
  ],
  "do.origin-refused": [
    "Open the page at the address that the server’s owner gave you. The owner can add {origin} to the origins that `duologue serve` allows.",
    "Ouvrez la page à l’adresse que le propriétaire du serveur vous a donnée. Celui-ci peut ajouter {origin} aux origines que `duologue serve` autorise.",
  ],
  "cause.host-mismatch": [
    "This page and the server do not agree on the server’s address.",
    "La page et le serveur ne s’accordent pas sur l’adresse du serveur.",
  ],
  "do.host-mismatch": [
    "Something on the way passes the line on under another name. Use the address that the server’s owner gave you.",
    "Quelque chose en chemin transmet la ligne sous un autre nom. Utilisez l’adresse que le propriétaire du serveur vous a donnée.",
  ],
  "cause.subject-changed": [
    "Somebody else has signed in on this line.",
    "Quelqu’un d’autre s’est connecté sur cette ligne.",
  ],
  "do.subject-changed": [
    "Reload the page: a line belongs to one person.",
    "Rechargez la page : une ligne n’appartient qu’à une seule personne.",
  ],
  "cause.hook-refused": [
    "The service behind this server has refused you.",
    "Le service derrière ce serveur vous a refusé l’accès.",
  ],
  "do.hook-refused": [
    "{reason} Ask the server’s owner, or sign in with another account, and reload the page.",
    "{reason} Adressez-vous au propriétaire du serveur, ou connectez-vous avec un autre compte, puis rechargez la page.",
  ],
  "cause.not-your-server": [
    "The answer was not made by the server that this browser has pinned, or it was altered on the way.",
    "La réponse ne vient pas du serveur que ce navigateur a épinglé, ou elle a été altérée en chemin.",
  ],
  "do.not-your-server": [
    "Nothing of yours was sent. Try another network; if it stays so, ask the server’s owner, by another way than this page.",
    "Rien de ce que vous avez écrit n’est parti. Essayez un autre réseau ; si cela persiste, interrogez le propriétaire du serveur par un autre moyen que cette page.",
  ],
  "cause.altered": [
    "A message was changed on the way: something between you and the server is tampering with the line.",
    "Un message a été modifié en chemin : quelque chose, entre vous et le serveur, altère la ligne.",
  ],
  "do.altered": [
    "The line was cut before the changed message was read. Try another network, and tell the server’s owner.",
    "La ligne a été coupée avant que le message modifié ne soit lu. Essayez un autre réseau et prévenez le propriétaire du serveur.",
  ],
  "cause.pin-changed": [
    "Stop: this link names another server key than the one this browser has pinned.",
    "Attention : ce lien désigne une autre clé de serveur que celle que ce navigateur a épinglée.",
  ],
  "do.pin-changed": [
    "Either the server was given a new key, or someone wants to stand in for it. Ask the owner, by telephone or in person, to read out the fingerprint shown by `duologue keys show`.",
    "Soit le serveur a reçu une nouvelle clé, soit quelqu’un veut se faire passer pour lui. Demandez au propriétaire, par téléphone ou de vive voix, de lire l’empreinte affichée par `duologue keys show`.",
  ],
  "cause.protocol": ["The two ends did not understand each other.", "Les deux bouts ne se sont pas compris."],
  "do.protocol": [
    "This page and the server may be of different versions: reload the page. If it stays so, tell the server’s owner.",
    "La page et le serveur sont peut-être de versions différentes : rechargez la page. Si cela persiste, prévenez le propriétaire du serveur.",
  ],
  "cause.internal": ["The server has failed.", "Le serveur a eu une défaillance."],
  "do.internal": [
    "Connect again; if it happens again, tell the server’s owner.",
    "Reconnectez-vous ; si cela se répète, prévenez le propriétaire du serveur.",
  ],
  "cause.bad-signature": [
    "The server did not accept this device’s signature.",
    "Le serveur n’a pas accepté la signature de cet appareil.",
  ],
  "do.bad-signature": [
    "Reload the page. If it stays so, forget this device and open a new invite link.",
    "Rechargez la page. Si cela persiste, oubliez cet appareil et ouvrez un nouveau lien d’invitation.",
  ],
  "cause.forgotten": ["This browser has forgotten its key.", "Ce navigateur a oublié sa clé."],
  "do.forgotten": [
    "To come back, open a new invite link here. The server’s owner still sees the old device in `duologue devices list` and can revoke it.",
    "Pour revenir, ouvrez ici un nouveau lien d’invitation. Le propriétaire du serveur voit encore l’ancien appareil dans `duologue devices list` et peut le révoquer.",
  ],

  "cause.lost": [
    "The connection opened, but nothing made with this server’s key came back.",
    "La connexion s’est ouverte, mais rien de fait avec la clé de ce serveur n’est revenu.",
  ],
  "do.lost": [
    "A proxy on the way may hold the answer back, or another server is at this address now. Try another network, or ask the server’s owner.",
    "Un proxy en chemin retient peut-être la réponse, ou un autre serveur est maintenant à cette adresse. Essayez un autre réseau, ou demandez au propriétaire du serveur.",
  ],
  "cause.upgrade-refused": [
    "The server answers, but it opens no line.",
    "Le serveur répond, mais n’ouvre pas de ligne.",
  ],
  "do.upgrade-refused": [
    "It may be full for the moment, or something on the way, such as a proxy or an extension, does not let WebSockets through. Try again in a moment, or in another network.",
    "Il est peut-être plein pour l’instant, ou quelque chose en chemin, un proxy ou une extension, bloque les WebSockets. Réessayez dans un instant, ou sur un autre réseau.",
  ],
  "do.unreachable-near": [
    "If the server runs, this browser may not trust its certificate yet: open {origin} in a new tab, accept the certificate there, and come back. Otherwise it is stopped; try again in a moment.",
    "Si le serveur tourne, ce navigateur n’accepte peut-être pas encore son certificat : ouvrez {origin} dans un nouvel onglet, acceptez-y le certificat, puis revenez. Sinon il est arrêté ; réessayez dans un instant.",
  ],
  "cause.local-network-denied": [
    "This browser does not let this page reach your own network, where the server is.",
    "Ce navigateur n’autorise pas cette page à accéder à votre réseau local, où se trouve le serveur.",
  ],
  "do.local-network-denied": [
    "Allow it in the page’s settings, beside its address: the permission is called local network, or apps on this device. Then connect again.",
    "Autorisez-le dans les paramètres de la page, à côté de son adresse : l’autorisation s’appelle réseau local, ou applications de cet appareil. Puis reconnectez-vous.",
  ],
  "cause.blocked-by-policy": [
    "This page’s own policy, or the browser, forbids the line.",
    "La politique de cette page, ou le navigateur, interdit la ligne.",
  ],
  "do.blocked-by-policy": [
    "Tell the page’s owner: its Content-Security-Policy needs the server in `connect-src`. An extension may have changed it.",
    "Prévenez le propriétaire de la page : sa Content-Security-Policy doit nommer le serveur dans `connect-src`. Une extension l’a peut-être modifiée.",
  ],
  "cause.no-wasm": [
    "This browser runs no WebAssembly, without which there is no line.",
    "Ce navigateur n’exécute pas WebAssembly, sans quoi il n’y a pas de ligne.",
  ],
  "do.no-wasm": [
    "Use a current browser. Some have a mode that turns WebAssembly off, for extra protection: leave it for this page.",
    "Utilisez un navigateur à jour. Certains ont un mode qui désactive WebAssembly pour plus de protection : quittez-le pour cette page.",
  ],
  "cause.wasm-blocked": [
    "This page’s own policy forbids WebAssembly, without which there is no line.",
    "La politique de cette page interdit WebAssembly, sans quoi il n’y a pas de ligne.",
  ],
  "do.wasm-blocked": [
    "Tell the page’s owner: its Content-Security-Policy needs `'wasm-unsafe-eval'` in `script-src`. An extension may have changed it.",
    "Prévenez le propriétaire de la page : sa Content-Security-Policy doit avoir `'wasm-unsafe-eval'` dans `script-src`. Une extension l’a peut-être modifiée.",
  ],
  "cause.no-store": ["This browser has no IndexedDB to keep a device key in.", "Ce navigateur n’a pas d’IndexedDB où garder une clé d’appareil."],
  "do.no-store": ["Use another browser.", "Utilisez un autre navigateur."],
  "cause.store-refused": [
    "This browser lets the page keep no device key.",
    "Ce navigateur ne laisse pas la page garder une clé d’appareil.",
  ],
  "do.store-refused": [
    "Allow this site to store data, and leave private mode. Then reload the page.",
    "Autorisez ce site à enregistrer des données, et quittez la navigation privée. Puis rechargez la page.",
  ],
  "cause.store-full": ["There is no room to keep a device key.", "Il n’y a plus de place pour garder une clé d’appareil."],
  "do.store-full": [
    "Free some of this device’s storage, then reload the page.",
    "Libérez de l’espace sur cet appareil, puis rechargez la page.",
  ],
  "cause.store-broken": [
    "What this browser keeps for this page is damaged, or of a newer version of it.",
    "Ce que ce navigateur garde pour cette page est abîmé, ou vient d’une version plus récente.",
  ],
  "do.store-broken": [
    "Clear this site’s data in the browser’s settings, and ask the server’s owner for a new invite link (`duologue invite new`).",
    "Effacez les données de ce site dans les paramètres du navigateur, et demandez au propriétaire du serveur un nouveau lien d’invitation (`duologue invite new`).",
  ],
  "cause.store-stuck": [
    "What this browser keeps for this page cannot be read at the moment.",
    "Ce que ce navigateur garde pour cette page ne peut pas être lu pour l’instant.",
  ],
  "do.store-stuck": [
    "Close other tabs of this page, or start the browser again.",
    "Fermez les autres onglets de cette page, ou redémarrez le navigateur.",
  ],
  "cause.worker-lost": [
    "The worker that held the line was ended, or a part of it could not be loaded or was changed on the way.",
    "Le processus qui tenait la ligne a été arrêté, ou une partie n’a pas pu être chargée ou a été modifiée en chemin.",
  ],
  "do.worker-lost": [
    "Connect again; what was not confirmed may or may not have arrived.",
    "Reconnectez-vous ; ce qui n’a pas été confirmé est peut-être arrivé, ou non.",
  ],

  // The line of one tab too many.
  "state.waiting": ["Waiting for a place", "En attente d’une place"],
  "detail.waiting": [
    "Sixteen tabs of this browser have a line to {host} already, which is as many as it keeps for one device. Close one of them, and this one goes on by itself.",
    "Seize onglets de ce navigateur ont déjà une ligne vers {host}, autant qu’il en garde pour un appareil. Fermez-en un, et celui-ci continuera de lui-même.",
  ],

  // What may be done about some of them.
  "pin.old": ["Pinned in this browser", "Épinglée dans ce navigateur"],
  "pin.new": ["Named by the link", "Désignée par le lien"],
  "pin.compared": [
    "You compared this one with the owner on {day}",
    "Vous avez comparé celle-ci avec le propriétaire le {day}",
  ],
  "pin.unread": ["not known to this page", "inconnue de cette page"],
  "pin.trust": [
    "I have compared the new fingerprint with the owner: trust it",
    "J’ai comparé la nouvelle empreinte avec le propriétaire : lui faire confiance",
  ],
  "action.keep-pin": ["Ignore the link, keep the pinned key", "Ignorer le lien, garder la clé épinglée"],
  "action.without-invite": ["Connect with the key stored here", "Se connecter avec la clé gardée ici"],

  // Why a conversation or a request ended while the line goes on.
  "reset.cancelled": ["the other end has cancelled", "l’autre bout a annulé"],
  "reset.deadline": ["no answer in time", "pas de réponse à temps"],
  "reset.refused": ["the server does not offer this service", "le serveur ne propose pas ce service"],
  "reset.not-allowed": ["the server does not allow this", "le serveur ne le permet pas"],
  "reset.step-up-needed": ["it takes a passkey of yours", "il faut une de vos clés d’accès"],
  "reset.failed": ["the service at the server has failed", "le service a échoué côté serveur"],
  "reset.going-away": ["the server is being replaced: ask again", "le serveur est en cours de remplacement : redemandez"],
  "reset.stopped": ["the service at the server reads no more", "le service ne lit plus côté serveur"],

  // Why the server began a new session where this page wanted to go on with the old one.
  "fresh.session-expired": [
    "the connection was gone for too long, so the server had ended the session",
    "la connexion a été coupée trop longtemps, et le serveur avait mis fin à la session",
  ],
  "fresh.session-unknown": ["the server no longer knew the session", "le serveur ne connaissait plus la session"],
  "fresh.session-evicted": [
    "the server had given the session up to make room",
    "le serveur avait abandonné la session pour faire de la place",
  ],
  "fresh.session-altered": [
    "messages were altered on their way to the server again and again",
    "des messages en route vers le serveur ont été modifiés à plusieurs reprises",
  ],
  "fresh.session-subject": ["whoever was signed in is not any more", "la personne connectée ne l’est plus"],
  "fresh.not-kept": ["there was more of it than a page can leave to the next one", "il y en avait plus qu’une page ne peut laisser à la suivante"],
  "fresh.session-restarted": ["the server was started again", "le serveur a redémarré"],
};
