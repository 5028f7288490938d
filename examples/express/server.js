import express from "express";

const notes = new Map(); // device → its notes
const app = express();
app.use(express.json());

// Proved by the line's server, which lets nobody else write it.
app.use((request, response, next) => {
  request.device = request.get("duologue-device");
  if (request.device) next();
  else response.status(401).json({ error: "this backend is asked over the line only" });
});

app.get("/api/notes", (request, response) => response.json(notes.get(request.device) ?? []));

app.post("/api/notes", (request, response) => {
  const { text } = request.body ?? {};
  if (typeof text !== "string" || text.length > 1_000) return response.status(400).json({ error: "a text of at most 1,000 characters" });
  const own = [...(notes.get(request.device) ?? []), text].slice(-100);
  notes.set(request.device, own);
  response.status(201).json(own);
});

const server = app.listen(Number(process.env.PORT ?? 3000), "127.0.0.1", () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}`);
});
