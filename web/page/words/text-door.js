/**
 * The words of text.js for what the door says of somebody: why what they have shown counts not, or no more, and what they can do.
 * Loaded with shut.js and present.js. [English, French]. Those about passkeys stand elsewhere, and so do those that end a line by themselves.
 */

export const DOOR_WORDS = {
  "door.token-malformed": [
    "What this app has shown of you is no login: reload the page and sign in again. If it stays so, tell the app’s owner.",
    "Ce que cette application a montré de vous n’est pas une connexion : rechargez la page et reconnectez-vous. Si cela persiste, prévenez le propriétaire de l’application.",
  ],
  "door.token-kind": [
    "What this app has shown of you is a proof of another kind, and no login: tell the app’s owner.",
    "Ce que cette application a montré de vous est une preuve d’un autre genre, et non une connexion : prévenez le propriétaire de l’application.",
  ],
  "door.token-key": [
    "Your login is signed by a key that the server does not know: sign in again. If it stays so, tell the server’s owner.",
    "Votre connexion est signée par une clé que le serveur ne connaît pas : reconnectez-vous. Si cela persiste, prévenez le propriétaire du serveur.",
  ],
  "door.token-keys-unreachable": [
    "The server could not ask whoever signs your logins: try again in a moment. Its owner finds the cause in its log.",
    "Le serveur n’a pas pu interroger qui signe vos connexions : réessayez dans un instant. Son propriétaire en trouve la cause dans le journal.",
  ],
  "door.token-algorithm": [
    "Your login is signed in another way than it should be: tell the app’s owner.",
    "Votre connexion est signée autrement qu’elle ne devrait : prévenez le propriétaire de l’application.",
  ],
  "door.token-altered": [
    "Your login was changed after it was signed: sign in again, in another network if it stays so, and tell the app’s owner.",
    "Votre connexion a été modifiée après sa signature : reconnectez-vous, par un autre réseau si cela persiste, et prévenez le propriétaire de l’application.",
  ],
  "door.token-issuer": [
    "You have signed in somewhere else than this server trusts: sign in where its owner has told you to.",
    "Vous vous êtes connecté ailleurs que là où ce serveur fait confiance : connectez-vous là où son propriétaire vous l’a indiqué.",
  ],
  "door.token-audience": [
    "Your login is for another app: sign in from this one.",
    "Votre connexion est pour une autre application : connectez-vous depuis celle-ci.",
  ],
  "door.token-expired": ["The time of your login is over: sign in again.", "Votre connexion a expiré : reconnectez-vous."],
  "door.token-not-yet": [
    "The time of your login has not come: the clocks of the server and of whoever signs your logins differ. Tell the server’s owner.",
    "Votre connexion n’est pas encore valable : les horloges du serveur et de qui signe vos connexions diffèrent. Prévenez le propriétaire du serveur.",
  ],
  "door.token-claims": [
    "Your login does not say all that the server must know: tell the app’s owner.",
    "Votre connexion ne dit pas tout ce que le serveur doit savoir : prévenez le propriétaire de l’application.",
  ],
  "door.token-of-another-device": [
    "That login was made on another device, and is good there alone: sign in on this one.",
    "Cette connexion a été faite sur un autre appareil, et ne vaut que là : connectez-vous sur celui-ci.",
  ],
  "door.token-revoked": [
    "The server’s owner has ended your login. If that is a mistake, ask the owner; else sign in again.",
    "Le propriétaire du serveur a mis fin à votre connexion. S’il s’agit d’une erreur, voyez avec lui ; sinon, reconnectez-vous.",
  ],
  "door.device-of-another-subject": [
    "This device belongs to somebody else: sign in as they, use a device of your own, or ask the server’s owner to release this one.",
    "Cet appareil est à quelqu’un d’autre : connectez-vous sous ce nom, prenez un appareil à vous, ou demandez au propriétaire du serveur de libérer celui-ci.",
  ],
  "door.token-not-taken": [
    "This server takes no logins that are made elsewhere: come in by an invite link.",
    "Ce serveur n’accepte pas de connexion faite ailleurs : entrez par un lien d’invitation.",
  ],
  "door.standing-expired": ["You were signed in for a time, which is over: sign in again.", "Vous étiez connecté pour un temps, qui est écoulé : reconnectez-vous."],
  "door.signed-out": [
    "You have signed out, here or in another tab of this browser. To go on, sign in again.",
    "Vous vous êtes déconnecté, ici ou dans un autre onglet de ce navigateur. Pour continuer, reconnectez-vous.",
  ],
  "door.hook-unreachable": [
    "The server asks its owner’s own service of everybody, and that does not answer: try again in a moment.",
    "Le serveur interroge, pour chacun, le service de son propriétaire, et celui-ci ne répond pas : réessayez dans un instant.",
  ],
  "door.hook-answer": [
    "The server could not understand what its owner’s own service says of you: tell the owner, who finds it in the log.",
    "Le serveur n’a pas compris ce que le service de son propriétaire dit de vous : prévenez ce dernier, qui le trouve dans le journal.",
  ],
  "door.hook-stranger": [
    "The server’s owner and your login name two different people: sign out, and sign in as yourself.",
    "Le propriétaire du serveur et votre connexion nomment deux personnes différentes : déconnectez-vous, puis connectez-vous sous votre nom.",
  ],
};
