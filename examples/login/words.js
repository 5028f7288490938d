/** All that the pages say, in the person's language. */

const WORDS = {
  en: {
    title: "An app with a login",
    intro: "An ordinary login, over a line that nobody on the way can read: form, password and cookie pass under its seal.",
    "state.connecting": "Connecting …",
    "state.open": "The line is open.",
    "state.waiting": "Waiting for the server.",
    "state.resuming": "The connection is lost; another is on its way.",
    "state.draining": "The server is stopping.",
    "state.closed": "The line is closed.",
    "form.title": "Sign in",
    "form.name": "Name",
    "form.password": "Password",
    "form.hint": "Two people have an account here: ada, whose password is “note G”, and bob, whose password is “six strings”.",
    "form.submit": "Sign in",
    "out.submit": "Sign out",
    hello: "Signed in as {name}",
    "who.title": "Who says who you are",
    "who.line": "The line’s server",
    "who.line.says": "{subject}, level {level}, until {until}",
    "who.backend": "The app, by its cookie",
    "who.header": "The app, by what the line’s server tells it",
    "who.cookie": "This page’s own cookies",
    "who.none": "none",
    "notes.title": "Your notes",
    "notes.none": "No note so far.",
    "notes.label": "New note",
    "notes.submit": "Add",
    again: "Connect again",
    "error.wrong-password": "Name or password is wrong.",
    "error.not-signed-in": "Nobody is signed in any more. Sign in again.",
    "error.not-allowed": "This is for those who are signed in.",
    "error.bad-note": "A note has 1 to 1,000 characters.",
    "error.unreachable": "The app’s backend does not answer. Is it running?",
    "end.no-identity": "This browser was not let in yet. Open the link that `duologue invite new` prints.",
    "end.identity-lost": "This browser was let in, but its key is gone. Open a new link, made by `duologue invite new`.",
    "end.not-enrolled": "The server does not know this browser any more. Open a new link, made by `duologue invite new`.",
    "end.device-revoked": "The server’s owner has put this browser out.",
    "end.subject-changed": "Somebody else was signed in on this line, so it has ended, and with it what was open. A new one is here: sign in again.",
  },
  fr: {
    title: "Une application avec connexion",
    intro: "Une connexion ordinaire, sur une ligne que personne ne peut lire en chemin : formulaire, mot de passe et cookie passent sous son sceau.",
    "state.connecting": "Connexion …",
    "state.open": "La ligne est ouverte.",
    "state.waiting": "En attente du serveur.",
    "state.resuming": "La connexion est perdue ; une autre est en route.",
    "state.draining": "Le serveur s’arrête.",
    "state.closed": "La ligne est fermée.",
    "form.title": "Se connecter",
    "form.name": "Nom",
    "form.password": "Mot de passe",
    "form.hint": "Deux personnes ont un compte ici : ada, dont le mot de passe est « note G », et bob, dont le mot de passe est « six strings ».",
    "form.submit": "Se connecter",
    "out.submit": "Se déconnecter",
    hello: "Bonjour, {name}",
    "who.title": "Qui dit qui vous êtes",
    "who.line": "Le serveur de la ligne",
    "who.line.says": "{subject}, niveau {level}, jusqu’à {until}",
    "who.backend": "L’application, par son cookie",
    "who.header": "L’application, par ce que lui dit le serveur de la ligne",
    "who.cookie": "Les cookies de cette page",
    "who.none": "aucun",
    "notes.title": "Vos notes",
    "notes.none": "Aucune note pour l’instant.",
    "notes.label": "Nouvelle note",
    "notes.submit": "Ajouter",
    again: "Se reconnecter",
    "error.wrong-password": "Le nom ou le mot de passe est faux.",
    "error.not-signed-in": "Plus personne n’est connecté. Connectez-vous de nouveau.",
    "error.not-allowed": "Ceci est réservé aux personnes connectées.",
    "error.bad-note": "Une note a de 1 à 1 000 caractères.",
    "error.unreachable": "Le serveur de l’application ne répond pas. Est-il démarré ?",
    "end.no-identity": "Ce navigateur n’a pas encore été admis. Ouvrez le lien que `duologue invite new` affiche.",
    "end.identity-lost": "Ce navigateur avait été admis, mais sa clé a disparu. Ouvrez un nouveau lien, créé par `duologue invite new`.",
    "end.not-enrolled": "Le serveur ne connaît plus ce navigateur. Ouvrez un nouveau lien, créé par `duologue invite new`.",
    "end.device-revoked": "Le propriétaire du serveur a exclu ce navigateur.",
    "end.subject-changed": "Quelqu’un d’autre était connecté sur cette ligne ; elle a donc pris fin, avec tout ce qui y était ouvert. En voici une nouvelle : connectez-vous de nouveau.",
  },
};

export const language = navigator.languages.map((tag) => tag.slice(0, 2)).find((tag) => tag in WORDS) ?? "en";

/** A text with its parts filled in; without such a text, `otherwise`. */
export function say(key, parts = {}, otherwise = key) {
  return (WORDS[language][key] ?? otherwise).replace(/\{(\w+)\}/g, (_, name) => parts[name]);
}

/** What has gone wrong, in words: the backend's or the line's. */
export function explain(error) {
  const code = error.code ?? error.cause?.code;
  return say(`error.${code}`, {}, say(`end.${code}`, {}, error.message));
}

export const timeOf = (date) => date?.toLocaleTimeString(language, { hour: "2-digit", minute: "2-digit" }) ?? "∞";
