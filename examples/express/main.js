import { connect } from "duologue";

const link = connect({ invite: location.href });
const [state, notes, add] = ["state", "notes", "add"].map((id) => document.getElementById(id));

const show = (own) => notes.replaceChildren(...own.map((text) => Object.assign(document.createElement("li"), { textContent: text })));
const tell = (text) => (state.textContent = text);

/** As `fetch`, over the line; what the backend refuses is an error too. */
async function ask(path, init) {
  const response = await link.fetch(path, init);
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

link.addEventListener("statechange", () => tell(link.state));
link.closed.then(({ reason }) => tell(reason));
ask("/api/notes").then(show, (error) => tell(error.message));

add.addEventListener("submit", async (event) => {
  event.preventDefault();
  const body = JSON.stringify({ text: new FormData(add).get("text") });
  try {
    show(await ask("/api/notes", { method: "POST", body, headers: { "content-type": "application/json" } }));
    add.reset();
  } catch (error) {
    tell(error.message);
  }
});
