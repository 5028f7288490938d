/**
 * The words of text.js about who is there, loaded with present.js. [English, French].
 */

export const PRESENT_WORDS = {
  "present.title": ["Who is here", "Qui est là"],
  "present.device": [
    "This device belongs to {subject}. Whoever sits at it may be somebody else: what is closed opens to {subject} by a passkey.",
    "Cet appareil appartient à {subject}. Quelqu’un d’autre est peut-être devant : ce qui est fermé s’ouvre à {subject} par une clé d’accès.",
  ],
  "present.account": [
    "{subject} has signed in. What is closed opens by a passkey.",
    "{subject} s’est identifié. Ce qui est fermé s’ouvre par une clé d’accès.",
  ],
  "present.here": [
    "{subject} is here, and has shown it by a passkey. It ends with this line.",
    "{subject} est là, et l’a montré par une clé d’accès. Cela prend fin avec cette ligne.",
  ],
  "present.step-up": ["Show that it is you…", "Montrer que c’est vous…"],
  "present.again": ["Show it again…", "Le montrer à nouveau…"],
  "present.register": ["Register a passkey…", "Enregistrer une clé d’accès…"],
  "present.keys": ["Passkeys", "Clés d’accès"],
  "present.waiting": ["Your browser asks you…", "Votre navigateur vous le demande…"],
  "present.making": ["Your browser asks you…", "Votre navigateur vous le demande…"],
  "present.removing": ["Removing it…", "Suppression…"],
  "present.done": ["You have shown that it is you.", "Vous avez montré que c’est vous."],
  "present.registered": [
    "“{name}” is registered. From now on you show by it that it is you.",
    "« {name} » est enregistrée. Désormais vous montrez par elle que c’est vous.",
  ],
  "present.removed": ["“{name}” is removed.", "« {name} » est supprimée."],
  "present.elsewhere": [
    "A passkey was registered for you on another device: “{name}”. If that was not you, show that it is you, and remove it.",
    "Une clé d’accès a été enregistrée pour vous sur un autre appareil : « {name} ». Si ce n’était pas vous, montrez que c’est vous, et supprimez-la.",
  ],
  "present.none": ["There is none.", "Il n’y en a aucune."],
  "present.made": ["registered on {day},", "enregistrée le {day},"],
  "present.made-here": ["registered here on {day},", "enregistrée ici le {day},"],
  "present.used": ["last used on {day}", "utilisée le {day}"],
  "present.unused": ["never used", "jamais utilisée"],
  "present.remove": ["Remove", "Supprimer"],
  "present.failed": ["It did not work: {why}", "Échec : {why}"],
  "present.no-presence": [
    "No passkey was used. If there is none yet, register one.",
    "Aucune clé d’accès n’a servi. S’il n’y en a pas encore, enregistrez-en une.",
  ],
  "present.no-passkeys": ["This browser has no passkeys.", "Ce navigateur n’a pas de clés d’accès."],
  "present.wrong-host": [
    "This page is not of the host for which the server takes passkeys: its owner must set `rp_id`.",
    "Cette page n’est pas de l’hôte pour lequel le serveur accepte des clés d’accès : son propriétaire doit régler `rp_id`.",
  ],
  "present.passkey-none": [
    "There is no passkey of yours yet: register one, within five minutes of your coming in.",
    "Vous n’avez pas encore de clé d’accès : enregistrez-en une, dans les cinq minutes qui suivent votre arrivée.",
  ],
  "present.passkey-unknown": ["That passkey is not registered for you.", "Cette clé d’accès n’est pas enregistrée pour vous."],
  "present.passkey-late": ["That took too long: try again.", "C’était trop long : essayez à nouveau."],
  "present.passkey-refused": [
    "The server does not take what the passkey has signed: its owner finds the cause in the log.",
    "Le serveur n’accepte pas ce que la clé d’accès a signé : son propriétaire en trouve la cause dans le journal.",
  ],
  "present.passkey-unverified": [
    "The passkey has not verified you: set a PIN, a finger or a face for it.",
    "La clé d’accès ne vous a pas vérifié : donnez-lui un code, un doigt ou un visage.",
  ],
  "present.passkey-copied": [
    "There may be a copy of this passkey: remove it, and register another.",
    "Il y a peut-être une copie de cette clé d’accès : supprimez-la, et enregistrez-en une autre.",
  ],
  "present.passkey-algorithm": ["The server does not take this kind of passkey.", "Le serveur n’accepte pas ce genre de clé d’accès."],
  "present.passkey-known": ["This passkey is registered already.", "Cette clé d’accès est déjà enregistrée."],
  "present.passkey-too-many": [
    "You have as many passkeys as you may: remove one first.",
    "Vous avez autant de clés d’accès qu’il est permis : supprimez-en une d’abord.",
  ],
  "present.login-too-old": [
    "A first passkey is registered within five minutes of coming in: sign in again, or ask the server’s owner for a new invite.",
    "Une première clé d’accès s’enregistre dans les cinq minutes qui suivent l’arrivée : identifiez-vous à nouveau, ou demandez une nouvelle invitation au propriétaire du serveur.",
  ],
  "present.no-subject": ["Nobody has said whose line this is.", "Personne n’a dit à qui est cette ligne."],
  "present.step-up-needed": ["Show first that it is you, by a passkey that you have.", "Montrez d’abord que c’est vous, par une clé d’accès que vous avez."],
};
